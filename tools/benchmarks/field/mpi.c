/*
 * OpenMPI over shared memory: rank 0 calls rank 1 by MPI_Send() and MPI_Recv(),
 * which both poll. It is started by mpirun, with two ranks. With the option
 * "spawn" there is one, which starts workers by MPI_Comm_spawn().
 */
#include "contender.h"

#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum tag { CALL, POST, PASS, END, PID };

static const char *self;

/* Errors end the program, as MPI's default handler does. */
static void serve(MPI_Comm caller)
{
	for (;;) {
		MPI_Status status;
		int32_t call[2], sum;
		int n;

		MPI_Probe(0, MPI_ANY_TAG, caller, &status);
		if (status.MPI_TAG == PASS) {
			MPI_Get_count(&status, MPI_BYTE, &n);

			uint8_t *buffer = kept_buffer((size_t)n);

			MPI_Recv(buffer, n, MPI_BYTE, 0, PASS, caller, MPI_STATUS_IGNORE);
			sum = check(buffer, (size_t)n);
		} else {
			MPI_Recv(call, 2, MPI_INT32_T, 0, status.MPI_TAG, caller, MPI_STATUS_IGNORE);
			if (status.MPI_TAG == END)
				break;
			sum = answer(call[0], call[1]);
			if (status.MPI_TAG == POST)
				continue;
		}
		MPI_Send(&sum, 1, MPI_INT32_T, 0, CALL, caller);
	}
}

static _Noreturn void be_other_rank(int core)
{
	int32_t pid = getpid();

	pin_to(core);
	MPI_Send(&pid, 1, MPI_INT32_T, 0, PID, MPI_COMM_WORLD);
	serve(MPI_COMM_WORLD);
	MPI_Finalize();
	exit(0);
}

static _Noreturn void be_spawned(MPI_Comm parent)
{
	serve(parent);
	MPI_Comm_disconnect(&parent);
	MPI_Finalize();
	exit(0);
}

static void begin(int *argc, char ***argv)
{
	MPI_Comm parent;
	int rank;

	self = (*argv)[0];
	MPI_Init(argc, argv);
	MPI_Comm_get_parent(&parent);
	if (parent != MPI_COMM_NULL)
		be_spawned(parent);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	if (rank == 1 && *argc > 3)
		be_other_rank(atoi((*argv)[3]));
}

static void end_other(int rank, MPI_Comm group)
{
	int32_t nothing[2] = { 0 };

	MPI_Send(nothing, 2, MPI_INT32_T, rank, END, group);
}

static void end(void)
{
	int size;

	MPI_Comm_size(MPI_COMM_WORLD, &size);
	if (size > 1)
		end_other(1, MPI_COMM_WORLD);
	MPI_Finalize();
}

static void open_mpi(const struct place *place)
{
	int32_t pid;

	atexit(end);
	if (place->option && !strcmp(place->option, "spawn")) {
		unbind();
		return;
	}
	MPI_Recv(&pid, 1, MPI_INT32_T, 1, PID, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
	also_runs(pid);
}

static const char *version(void)
{
	static char number[32];
	char text[MPI_MAX_LIBRARY_VERSION_STRING];
	int n;

	MPI_Get_library_version(text, &n);
	if (sscanf(text, "Open MPI v%31[^,]", number) != 1)
		die("not OpenMPI: %s", text);
	return number;
}

static void send_call(int32_t a, int32_t b)
{
	int32_t call[] = { a, b };

	MPI_Send(call, 2, MPI_INT32_T, 1, CALL, MPI_COMM_WORLD);
}

static int32_t receive(void)
{
	int32_t sum;

	MPI_Recv(&sum, 1, MPI_INT32_T, 1, CALL, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
	return sum;
}

static int32_t call(int32_t a, int32_t b)
{
	send_call(a, b);
	return receive();
}

static void post(int32_t a, int32_t b)
{
	int32_t message[] = { a, b };

	MPI_Send(message, 2, MPI_INT32_T, 1, POST, MPI_COMM_WORLD);
}

static int32_t pass(uint8_t *p, size_t n)
{
	MPI_Send(p, (int)n, MPI_BYTE, 1, PASS, MPI_COMM_WORLD);
	return receive();
}

static uint64_t start(void)
{
	int32_t request[] = { 1, 2 }, sum;
	uint64_t from = now_ns();
	MPI_Comm worker;

	MPI_Comm_spawn(self, MPI_ARGV_NULL, 1, MPI_INFO_NULL, 0, MPI_COMM_SELF, &worker, MPI_ERRCODES_IGNORE);
	MPI_Send(request, 2, MPI_INT32_T, 0, CALL, worker);
	MPI_Recv(&sum, 1, MPI_INT32_T, 0, CALL, worker, MPI_STATUS_IGNORE);

	uint64_t ns = now_ns() - from;

	expect(sum, 3);
	end_other(0, worker);
	MPI_Comm_disconnect(&worker);
	return ns;
}

const struct system contender = {
	.begin = begin,
	.version = version,
	.open = open_mpi,
	.call = call,
	.send = send_call,
	.receive = receive,
	.post = post,
	.pass = pass,
	.pass_max = 1u << 30,
	.start = start,
};
