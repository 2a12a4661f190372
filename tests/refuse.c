/*
 * Run a command to which the kernel refuses io_uring, as containers' filters do, and
 * does not know PROCMAP_QUERY, as before Linux 6.11:
 *
 *	refuse EPERM|ENOSYS COMMAND [ARGUMENT...]
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "refuse.h"

#define PROCMAP_QUERY	_IOWR('f', 17, char[104])

/* The same for ioctl() with one request, whatever its argument. */
static int refuse_request(uint32_t request, int error)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, request, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof filter / sizeof *filter, .filter = filter };

	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

int main(int argc, char **argv)
{
	if (argc < 3 || (strcmp(argv[1], "EPERM") && strcmp(argv[1], "ENOSYS"))) {
		fprintf(stderr, "usage: %s EPERM|ENOSYS COMMAND [ARGUMENT...]\n", argv[0]);
		return 2;
	}
	int error = strcmp(argv[1], "EPERM") ? ENOSYS : EPERM;

	if (REFUSE(error, SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register) || refuse_request(PROCMAP_QUERY, ENOTTY)) {
		perror("refuse: seccomp");
		return 1;
	}
	execvp(argv[2], &argv[2]);
	perror(argv[2]);
	return 127;
}
