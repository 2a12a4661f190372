/* A contender's program that runs: it takes a line of words, and answers with one. */
#include "part.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proc.h"

enum { PIDS_MAX = 16, WORDS_MAX = 32, PATIENCE_S = 120 };

struct part {
	char name[64];
	pid_t child;			/* it or its launcher */
	int fd;				/* to it */
	bool failed;
	pid_t pid[PIDS_MAX];		/* those who do the work */
	unsigned pids;
	bool polls;			/* so it must be stopped to be quiet */
	char version[32];
	FILE *in;			/* from it */
	char *reply;
	size_t room;
};

static void fail(struct part *p, const char *why)
{
	if (!p->failed)
		fprintf(stderr, "bench: %s %s\n", p->name, why);
	p->failed = true;
}

static bool starts_with(const char *line, const char *word)
{
	return !strncmp(line, word, strlen(word));
}

/* The next answer of it, in p->reply: false if it fails. What its system prints meanwhile is shown. */
static bool read_answer(struct part *p)
{
	while (getline(&p->reply, &p->room, p->in) > 0) {
		if (starts_with(p->reply, "ready ") || starts_with(p->reply, "ok") || starts_with(p->reply, "cannot"))
			return true;
		fprintf(stderr, "bench: %s: %s", p->name, p->reply);
	}
	fail(p, ferror(p->in) && errno == EAGAIN ? "does not answer" : "ended");
	return false;
}

static void run_program(int fd, char *const *words)
{
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	dup2(fd, STDIN_FILENO);
	dup2(fd, STDOUT_FILENO);
	execvp(words[0], words);
	perror(words[0]);
	_exit(127);
}

/* The words of the command line, the launcher's cut out of @launcher. */
static void put_words(char **words, char *launcher, const char *program, const char *const *args)
{
	unsigned n = 0;

	for (char *word = strtok(launcher, " "); word && n < WORDS_MAX - 8; word = strtok(NULL, " "))
		words[n++] = word;
	words[n++] = (char *)program;
	for (; *args; args++)
		words[n++] = (char *)*args;
	words[n] = NULL;
}

static bool read_ready(struct part *p)
{
	int used;

	if (!read_answer(p))
		return false;
	if (sscanf(p->reply, "ready %31s%n", p->version, &used) != 1) {
		fail(p, "is not ready");
		return false;
	}
	for (char *end, *s = p->reply + used; p->pids < PIDS_MAX; s = end) {
		p->pid[p->pids] = (pid_t)strtol(s, &end, 10);
		if (s == end)
			break;
		p->pids++;
	}
	return true;
}

struct part *part_start(const char *launcher, const char *program, const char *mode, const int cores[2],
			const char *option)
{
	char first[12], second[12], *words[WORDS_MAX], *launch = strdup(launcher);
	const char *args[] = { mode, first, second, option, NULL }, *slash = strrchr(program, '/');
	struct part *p = calloc(1, sizeof *p);
	struct timeval patience = { .tv_sec = PATIENCE_S };
	int fd[2];

	snprintf(first, sizeof first, "%d", cores[0]);
	snprintf(second, sizeof second, "%d", cores[1]);
	if (!p || !launch || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd)) {
		perror("bench");
		exit(1);
	}
	snprintf(p->name, sizeof p->name, "%s %s", slash ? slash + 1 : program, option ? option : mode);
	put_words(words, launch, program, args);
	setsockopt(fd[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	p->polls = !strcmp(mode, "spin");
	p->fd = fd[0];
	p->in = fdopen(fd[0], "r");
	p->child = fork();
	if (p->child < 0) {
		perror("bench: fork");
		exit(1);
	}
	if (p->child == 0)
		run_program(fd[1], words);
	close(fd[1]);
	free(launch);
	if (!read_ready(p)) {
		part_end(p);
		return NULL;
	}
	part_stop(p);
	return p;
}

const char *part_version(const struct part *p)
{
	return p->version;
}

static void signal_all(struct part *p, int signal)
{
	for (unsigned i = 0; i < p->pids; i++)
		kill(p->pid[i], signal);
}

void part_resume(struct part *p)
{
	if (p->polls)
		signal_all(p, SIGCONT);
}

void part_stop(struct part *p)
{
	if (p->polls)
		signal_all(p, SIGSTOP);
}

int part_command(struct part *p, const char *command, double *figure, int max)
{
	int n = 0;

	if (p->failed)
		return -1;
	if (dprintf(p->fd, "%s\n", command) < 0) {
		fail(p, "ended");
		return -1;
	}
	if (!read_answer(p) || !starts_with(p->reply, "ok"))
		return -1;
	for (char *end, *s = p->reply + 2; n < max; s = end, n++) {
		figure[n] = strtod(s, &end);
		if (s == end)
			break;
	}
	return n;
}

double part_cpu(const struct part *p)
{
	double sum = 0;

	for (unsigned i = 0; i < p->pids; i++)
		sum += cpu_time(p->pid[i]);
	return sum;
}

void part_end(struct part *p)
{
	part_resume(p);
	shutdown(p->fd, SHUT_WR);
	for (int ms = 0; waitpid(p->child, NULL, WNOHANG) == 0; ms += 10) {
		if (ms == 10000) {
			fail(p, "does not end");
			signal_all(p, SIGKILL);
			kill(p->child, SIGKILL);
		}
		rest(10);
	}
	fclose(p->in);
	free(p->reply);
	free(p);
}
