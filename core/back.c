/*
 * Calls back: from a slave to the thread whose call it runs.
 *
 * While a thread waits for a call that was given callbacks, it serves a member of its
 * own, which the slave calls, until the call's deadline. The slave, while it waits for
 * that, serves the lane by which the call that it runs has come, for what is called back
 * may call it again; and so on to any depth. Each of the two is where it was when the
 * other goes on: what is served last is answered first.
 *
 * Both sleep where they would sleep only for the reply, and are woken there by a
 * request too: the asking side of each lane is told so (struct far__lane.consumer).
 * The call slot of the port is occupied meanwhile, so further calls go by its queue.
 *
 * The member belongs to a port and to one incarnation of its slave: the next knows
 * nothing of where its lanes stood, and is given another, for which the callbacks are made
 * anew when they are wanted. A slave that calls when nobody waits any more sees
 * far__upcall.wanted 0, before or while it waits: whoever makes it so wakes it.
 */
#include <errno.h>
#include <stdlib.h>

#include "internal.h"

/* A port's. */
struct far__back {
	struct far__slave *slave;	/* of this process: whom the port's slave calls; NULL at first */
	uint32_t incarnation;		/* of the port's slave */
	uint32_t generation;		/* counts the members that the port has had */
	unsigned active;		/* callbacks of calls that are waited for */
	bool left;			/* its thread ended in a callback, which nobody will answer */
	struct far__callback *first;	/* also those that were made for an earlier incarnation */
};

/* ------------------------------------------------------------ who is called */

/* Those who wait for an answer look whether there will be one. */
static void wake_callers(const struct far__back *b)
{
	struct far__segment *segment = b->slave->segment;

	for (uint32_t lanes = (uint32_t)shm_load64(&segment->ready); lanes; lanes &= lanes - 1)
		far__park_wake(&segment->lane[__builtin_ctz(lanes)].producer);
}

void far__back_give_up(struct far__port *port)
{
	struct far__back *b = port->back;

	if (!b || !b->slave)
		return;
	far__port_set_serves(port, NULL);
	for (struct far__callback *c = b->first; c; c = c->next)
		shm_store(&c->upcall->wanted, 0);
	b->active = 0;
	b->left = port->waits != NULL;
	wake_callers(b);
}

/* Nobody calls its member any more. */
static void retire(struct far__port *port)
{
	struct far__back *b = port->back;

	if (!b || !b->slave)
		return;
	far__back_give_up(port);
	far__slave_unserved_end(b->slave);
	b->slave = NULL;
}

bool far__back_is_current(const struct far__port *port)
{
	const struct far__back *b = port->back;

	return b && b->slave && !b->left && b->incarnation == far__incarnation(port->slave->number);
}

bool far__back_open(struct far__port *port, const struct far__site *site)
{
	struct far__back *b = port->back;
	uint32_t incarnation = far__incarnation(port->slave->number);

	if (far__back_is_current(port))
		return true;
	if (b && b->active) {
		far__fail(FAR_ESTALE, EOWNERDEAD, site->function, site, "the call that this is a callback of has ended: its slave died");
		return false;
	}
	if (!b)
		b = port->back = calloc(1, sizeof *b);
	struct far__slave *slave = b ? far__slave_unserved(site) : NULL;

	if (!b)
		far__fail(FAR_ENOMEM, ENOMEM, site->function, site, "no memory for a callback");
	if (!slave)
		return false;
	retire(port);
	b->slave = slave;
	b->incarnation = incarnation;
	b->generation++;
	b->active = 0;
	b->left = false;
	return true;
}

void far__back_close(struct far__port *port, bool in_use)
{
	struct far__back *b = port->back;

	if (!b)
		return;
	retire(port);
	if (b->first)
		far__proxies.free_callbacks(b->first, in_use);
	free(b);
	port->back = NULL;
}

uint32_t far__back_incarnation(const struct far__port *port)
{
	return port->back->incarnation;
}

bool far__back_has_made(const struct far__callback *c)
{
	const struct far__back *b = c->port->back;

	return b && b->slave && c->generation == b->generation;
}

struct far__callback *far__back_first(const struct far__port *port)
{
	return port->back->first;
}

void far__back_tie(struct far__port *port, struct far__callback *c)
{
	struct far__back *b = port->back;

	c->generation = b->generation;
	c->incarnation = b->incarnation;
	c->upcall->owner = b->slave->handle;
	c->upcall->slave = port->slave->number;
	c->upcall->lane = port->number;
	if (c->port)
		return;
	c->port = port;
	c->next = b->first;
	b->first = c;
}

void far__callback_begin(struct far__callback *c)
{
	struct far__back *b = c->port->back;

	if (!far__back_has_made(c))
		return;
	b->active++;
	b->slave->server->errnum = &errno;
	far__port_set_serves(c->port, b->slave->server);
	c->port->serves_lanes = UINT32_MAX;
	shm_add(&c->upcall->wanted, 1);
}

void far__callback_end(struct far__callback *c)
{
	struct far__back *b = c->port->back;

	/* Given up by the end of the thread, or of the slave. */
	if (!far__back_has_made(c) || !b->active)
		return;
	if (!--b->active)
		far__port_set_serves(c->port, NULL);
	shm_add(&c->upcall->wanted, -1u);
	wake_callers(b);
}

/* ------------------------------------------------------------ in the slave */

bool far__upcall_begin(const struct far__upcall *u, const struct far__site *site, struct far__upcall_state *before)
{
	struct far__segment *segment = far__space_segment(u->slave);
	struct far__server *server = far__thread.server;
	struct far__port *port = far__slave_owner(u->owner, site) ? far__port_find(u->owner, site) : NULL;

	before->port = port;
	if (!port)
		return false;
	before->serves = far__port_serves(port);
	before->serves_lanes = port->serves_lanes;
	before->wanted = port->wanted;
	port->wanted = &u->wanted;
	port->lane.consumer = &segment->lane[u->lane].producer;
	/* A thread that the function has started is none of the caller's, and serves nothing. */
	far__port_set_serves(port, server && server->number == u->slave ? server : NULL);
	port->serves_lanes = 1u << u->lane;
	return true;
}

void far__upcall_end(const struct far__upcall_state *before)
{
	far__port_set_serves(before->port, before->serves);
	before->port->serves_lanes = before->serves_lanes;
	before->port->wanted = before->wanted;
}
