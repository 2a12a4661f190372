/*
 * The three first things to do with farcall: run a function in a thread, in a
 * slave thread and in a slave process.
 */
#include <stdio.h>
#include <stdlib.h>

#include <farcall.h>

enum { COUNT = 1000000 };

/* The list 0, 1, ... 999999; free() it. */
static long long *make_list(void)
{
	long long *list = malloc(COUNT * sizeof *list);

	if (!list)
		far_raise(FAR_ENOMEM, "no memory for the list");
	for (int i = 0; i < COUNT; i++)
		list[i] = i;
	return list;
}

static long long sum(const long long *list)
{
	long long total = 0;

	for (int i = 0; i < COUNT; i++)
		total += list[i];
	return total;
}

static long long product(const long long *list)
{
	long long total = 1;

	for (int i = 0; i < COUNT; i++)
		total *= list[i];
	return total;
}

static long long sum_of_list(void)
{
	long long *list = make_list();
	long long total = sum(list);

	free(list);
	return total;
}

/* Programs that can do something about a failure look at far_error()->code. */
static void check(void)
{
	const struct far_error *error = far_error();

	if (error) {
		fprintf(stderr, "first: %s\n", error->message);
		exit(EXIT_FAILURE);
	}
}

/* The list stays where the slave made it; here is only a pointer to it. */
static void sum_and_multiply(struct far_slave *slave)
{
	long long *list = far_invoke(slave, make_list);
	check();
	long long s = far_invoke(slave, sum, list);
	check();
	printf("sum is %lld\n", s);
	long long p = far_invoke(slave, product, list);
	check();
	printf("product is %lld\n", p);
	far_invoke(slave, free, list);
	check();
}

int main(void)
{
	far_init();

	puts("A thread:");
	far_task(long long) task = far_thread(sum_of_list);
	long long s = far_wait(task);
	check();
	printf("sum is %lld\n", s);

	puts("A slave thread:");
	struct far_slave *thread = far_slave_thread(.name = "thread");
	check();
	sum_and_multiply(thread);
	far_slave_close(thread);

	puts("A slave process:");
	struct far_slave *process = far_slave_process(.name = "process");
	check();
	sum_and_multiply(process);
	far_slave_close(process);
}
