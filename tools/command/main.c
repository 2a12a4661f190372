/* farcall: call functions of libraries from the shell, each in a process of its own. */
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

static const char help[] =
	"usage: farcall call [OPTION]... LIBRARY FUNCTION|PROTOTYPE [ARGUMENT]...\n"
	"       farcall inspect LIBRARY [NAME]\n"
	"       farcall types LIBRARY [FILE]\n"
	"\n"
	"call: call a function of a library in a process of its own and print its result.\n"
	"  FUNCTION needs debug information of the library; a PROTOTYPE needs nothing.\n"
	"  ARGUMENT is, for a parameter that is\n"
	"    a number               the number; for a char also the character; for _Bool true or false\n"
	"    a pointer              the text itself, @FILE for a file's bytes, - for those of\n"
	"                           standard input, or NULL\n"
	"    a struct               {VALUE, VALUE, ...}\n"
	"    any of them            # for how many bytes the last text, file or input had\n"
	"\n"
	"inspect: list a library's functions, or show the function or type NAME.\n"
	"types: keep what the debug information tells of types in FILE, by default\n"
	"  LIBRARY.types, where a stripped LIBRARY beside it finds it; it may be a program.\n"
	"\n"
	"  -d, --deadline=SECONDS   give up after so long, fractions allowed\n"
	"  -m, --memory=SIZE        bytes that the call may use, with k, m or g\n"
	"  -h, --help               print this\n"
	"  -V, --version            print the version\n"
	"\n"
	"Exit status: 0; 1 if the call failed, with a report; 2 if it could not be made.\n"
	"\n"
	"  farcall call libm.so.6 'double pow(double, double)' 2 10\n"
	"  farcall call libz.so.1 'unsigned long crc32(unsigned long, const char *, unsigned)' 0 @FILE '#'\n";

int complain(const char *format, ...)
{
	va_list arguments;

	fputs("farcall: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	return MISUSED;
}

int print_failure(void)
{
	fflush(stdout);
	fputs("farcall: ", stderr);
	far_error_print(stderr);
	return FAILED;
}

struct far_slave *start_slave(const struct limits *limits)
{
	return far_slave_process(.name = "farcall", .memory_limit = limits->memory, .deadline_ms = limits->deadline_ms);
}

static bool read_seconds(const char *text, int *ms)
{
	char *end;
	double seconds = strtod(text, &end);

	if (end == text || *end || !(seconds > 0) || seconds > 2000000) {
		complain("'%s' is no number of seconds", text);
		return false;
	}
	*ms = seconds < 0.001 ? 1 : (int)(seconds * 1000);
	return true;
}

static bool read_size(const char *text, size_t *size)
{
	static const char suffixes[] = "kmg";
	char *end;
	unsigned long long n = strtoull(text, &end, 10);
	const char *suffix = *end ? strchr(suffixes, *end | 0x20) : NULL;
	unsigned shift = suffix ? 10 * (unsigned)(suffix - suffixes + 1) : 0;

	if (end == text || *text == '-' || !n || n > SIZE_MAX >> shift || (*end && (!suffix || end[1]))) {
		complain("'%s' is no size: 100000, 64k, 512m and 2g are", text);
		return false;
	}
	*size = (size_t)n << shift;
	return true;
}

static int misused(const char *what)
{
	complain("%s", what);
	fputs("try: farcall --help\n", stderr);
	return MISUSED;
}

static int run(const struct limits *limits, const char *command, char **word, int count)
{
	if (!strcmp(command, "call"))
		return count < 2 ? misused("call needs a library and a function")
				 : call_command(limits, word[0], word[1], word + 2, (unsigned)count - 2);
	if (!strcmp(command, "inspect"))
		return count < 1 || count > 2 ? misused("inspect needs a library, and takes a name")
					      : inspect_command(limits, word[0], word[1]);
	if (!strcmp(command, "types"))
		return count < 1 || count > 2 ? misused("types needs a library, and takes a file")
					      : types_command(word[0], word[1]);
	return misused("there is no such command");
}

enum { GO_ON = -1 };

/* The options up to the next word: GO_ON, or the exit status. */
static int take_options(int argc, char **argv, struct limits *limits)
{
	static const struct option options[] = {
		{ "deadline", required_argument, NULL, 'd' }, { "memory", required_argument, NULL, 'm' },
		{ "help", no_argument, NULL, 'h' }, { "version", no_argument, NULL, 'V' }, { 0 },
	};
	int option;

	/* '+': what follows a word is left alone, for arguments may look like -1. */
	while ((option = getopt_long(argc, argv, "+d:m:hV", options, NULL)) != -1) {
		switch (option) {
		case 'd':
			if (!read_seconds(optarg, &limits->deadline_ms))
				return MISUSED;
			break;
		case 'm':
			if (!read_size(optarg, &limits->memory))
				return MISUSED;
			break;
		case 'h':
			return fputs(help, stdout) == EOF || fflush(stdout);
		case 'V':
			return printf("farcall %d.%d.%d\n", FAR_VERSION_MAJOR, FAR_VERSION_MINOR, FAR_VERSION_PATCH) < 0 || fflush(stdout);
		default:
			fputs("try: farcall --help\n", stderr);
			return MISUSED;
		}
	}
	return GO_ON;
}

int main(int argc, char **argv)
{
	struct limits limits = { 0 };

	far_init();
	int status = take_options(argc, argv, &limits);

	if (status != GO_ON)
		return status;
	if (optind == argc)
		return misused("which command?");
	const char *command = argv[optind++];

	/* They may stand behind the command's name, too. */
	status = take_options(argc, argv, &limits);
	return status != GO_ON ? status : run(&limits, command, argv + optind, argc - optind);
}
