/* Passing a descriptor to a slave process. */
#ifndef FAR_CORE_MAIL_H
#define FAR_CORE_MAIL_H

#include <stdint.h>

struct far_slave;

/*
 * The number that the open file @fd gets in this incarnation of the slave, or -errno; -EOWNERDEAD
 * with far_error() if that has ended, or has not taken it before the deadline.
 */
int far__mail_fd(struct far_slave *slave, uint32_t incarnation, int fd, uint64_t deadline);

#endif
