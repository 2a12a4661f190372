/* Have the kernel refuse system calls to this process and its children, as a container's seccomp filter does. */
#ifndef FAR_TESTS_REFUSE_H
#define FAR_TESTS_REFUSE_H

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>

/* From now on @action is taken at each of @n calls: 0, or -1 and errno. */
static inline int refuse(const int *number, unsigned n, uint32_t action)
{
	struct sock_filter filter[16];
	unsigned k = 0;

	filter[k++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (unsigned i = 0; i < n; i++)
		filter[k++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number[i],
							   (uint8_t)(n - i), 0);
	filter[k++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	filter[k++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action);
	struct sock_fprog program = { .len = (unsigned short)k, .filter = filter };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

#define REFUSE_BY(action, ...) \
	refuse((const int[]){ __VA_ARGS__ }, sizeof (const int[]){ __VA_ARGS__ } / sizeof(int), action)

/* The calls fail with @error. */
#define REFUSE(error, ...)	REFUSE_BY(SECCOMP_RET_ERRNO | (uint32_t)(error), __VA_ARGS__)

#endif
