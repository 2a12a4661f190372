/* Passing a descriptor to a slave process. */
#ifndef FAR_CORE_MAIL_H
#define FAR_CORE_MAIL_H

struct far_slave;

/* The number that the open file @fd gets in the slave, or -errno; with far_error() if the slave failed. */
int far__mail_fd(struct far_slave *slave, int fd);

#endif
