/*
 * Run a command to which the kernel refuses io_uring, as containers' filters do:
 *
 *	refuse EPERM|ENOSYS COMMAND [ARGUMENT...]
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "refuse.h"

int main(int argc, char **argv)
{
	if (argc < 3 || (strcmp(argv[1], "EPERM") && strcmp(argv[1], "ENOSYS"))) {
		fprintf(stderr, "usage: %s EPERM|ENOSYS COMMAND [ARGUMENT...]\n", argv[0]);
		return 2;
	}
	int error = strcmp(argv[1], "EPERM") ? ENOSYS : EPERM;

	if (REFUSE(error, SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register)) {
		perror("refuse: seccomp");
		return 1;
	}
	execvp(argv[2], &argv[2]);
	perror(argv[2]);
	return 127;
}
