/* Passing a descriptor to a slave process. */
#ifndef FAR_CORE_MAIL_H
#define FAR_CORE_MAIL_H

#include <stdint.h>

struct far_slave;
struct far__slave;

/*
 * The number that the open file @fd gets in this incarnation of the slave, or -errno; -EOWNERDEAD
 * with far_error() if that has ended, or has not taken it within @limit_ms (-1: no limit).
 */
int far__mail_fd(struct far__slave *slave, struct far_slave *handle, uint32_t incarnation, int fd, int limit_ms);

#endif
