/* Pointers: shared memory, copies, refusals; and descriptors. */
#include <pthread.h>
#include <sys/socket.h>

#include "check.h"

struct node { struct node *next; int value; };

static struct node *make_list(int n)
{
	struct node *list = NULL;

	while (n--) {
		struct node *node = far_alloc(sizeof *node);

		if (!node)
			far_raise(1, "%s", far_error()->message);
		*node = (struct node){ list, n };
		list = node;
	}
	return list;
}

static int free_list(struct node *list)
{
	int sum = 0;

	while (list) {
		struct node *next = list->next;

		sum += list->value;
		far_free(list);
		list = next;
	}
	return far_error() ? -1 : sum;
}

/* ----------------------------------------------------------- the far heap */

TEST_BOTH(a_list_made_in_one_process_is_read_and_freed_in_another)
{
	struct far_slave *s = START(), *t = START();

	CHECK_EQ(free_list(far_invoke(s, make_list, 1000)), 499500);
	CHECK_EQ(far_invoke(s, free_list, make_list(1000)), 499500);
	CHECK_EQ(far_invoke(s, free_list, far_invoke(t, make_list, 1000)), 499500);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
	CHECK_EQ(far_slave_close(t), 0);
}

TEST(memory_of_a_dead_slave_stays)
{
	struct far_slave *s = far_slave_process();
	struct node *list = far_invoke(s, make_list, 100);

	kill(far_slave_pid(s), SIGKILL);
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
	CHECK_EQ(far_invoke(far_slave_process(), free_list, list), 4950);
}

TEST(blocks_are_aligned_and_of_their_size)
{
	static const size_t size[] = { 0, 1, 63, 64, 65, 4096, 65536, 100000, 10 << 20 };

	for (unsigned i = 0; i < sizeof size / sizeof *size; i++) {
		char *a = far_alloc(size[i]), *b = far_calloc(1, size[i]);

		CHECK(a && b && a != b);
		CHECK((uintptr_t)a % 64 == 0 && (uintptr_t)b % 64 == 0);
		memset(a, 1, size[i]);
		for (size_t k = 0; k < size[i]; k++)
			CHECK(b[k] == 0);
		a = far_realloc(a, 2 * size[i] + 1);
		CHECK(a);
		for (size_t k = 0; k < size[i]; k++)
			CHECK(a[k] == 1);
		far_free(a);
		far_free(b);
	}
	CHECK_OK();
}

/* Reverse @in into @out: whether @in was 1, 2, 3 ... */
static bool reverse(const unsigned char *in, unsigned char *out, size_t n)
{
	bool right = true;

	for (size_t i = 0; i < n; i++) {
		right &= in[i] == i + 1;
		out[n - 1 - i] = in[i];
	}
	return right;
}

static int count_up(unsigned char *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		p[i]++;
	return (int)n;
}

/* Few bytes travel in the slot, more beside it, and of two buffers one may be here and the other there. */
TEST_BOTH(buffers_of_a_few_bytes)
{
	enum { MOST = 80 };
	unsigned char in[MOST], out[MOST + 1];
	struct far_slave *s = START(.queue = 8);

	for (unsigned n = 0; n <= MOST; n++) {
		for (unsigned i = 0; i < n; i++)
			in[i] = (unsigned char)(i + 1);
		memset(out, 0xee, sizeof out);
		CHECK(far_invoke(s, reverse, far_in(in, n), far_out(out, n), (size_t)n));
		for (unsigned i = 0; i < n; i++)
			CHECK(out[i] == n - i);
		CHECK(out[n] == 0xee);
		CHECK_EQ(far_invoke(s, count_up, far_inout(in, n), n), (int)n);
		for (unsigned i = 0; i < n; i++)
			CHECK(in[i] == i + 2);
	}
	CHECK_OK();
}

/* More of them than the queue has slots: their results are moved before they are waited for. */
TEST_BOTH(buffers_of_a_few_bytes_in_a_stream)
{
	enum { N = 100, SIZE = 16 };
	static unsigned char p[N][SIZE];
	struct far_slave *s = START(.queue = 4);
	far_task(int) task[N];

	for (unsigned round = 1; round <= 3; round++) {
		for (unsigned i = 0; i < N; i++)
			task[i] = far_schedule(s, count_up, far_inout(p[i], SIZE), (unsigned)SIZE);
		for (unsigned i = N; i-- > 0;)
			CHECK_EQ(far_wait(task[i]), SIZE);
		for (unsigned i = 0; i < N; i++)
			for (unsigned k = 0; k < SIZE; k++)
				CHECK(p[i][k] == round);
	}
	CHECK_OK();
}

/* In MiB: free blocks whose pages are kept, as far_status() has it. */
static unsigned mib_kept(void)
{
	char *text = NULL;
	size_t size;
	unsigned kib = 0;
	FILE *f = open_memstream(&text, &size);

	CHECK(f);
	far_status(f);
	fclose(f);
	const char *end = strstr(text, " KiB kept");

	CHECK(end);
	while (end > text && end[-1] != ' ')
		end--;
	CHECK(sscanf(end, "%u KiB kept", &kib) == 1);
	free(text);
	return kib >> 10;
}

static void use_and_free(size_t size)
{
	char *block = far_alloc(size);

	memset(block, 1, size);
	far_free(block);
}

TEST(the_memory_of_large_blocks_goes_back_in_a_moment)
{
	enum { SIZE = 200 << 20 };
	struct far_slave *s = far_slave_process();

	use_and_free(SIZE);
	CHECK(mib_kept() >= SIZE >> 20);
	far_invoke(s, use_and_free, 2 * (size_t)SIZE);
	CHECK_OK();
	for (int i = 0; i < 1000 && mib_kept() > 64; i++)
		usleep(10000);
	CHECK(mib_kept() <= 64);
	CHECK(mib_kept() >= 32);
}

TEST(what_is_no_block_is_left_alone)
{
	char *block = far_alloc(1000), *other = malloc(10);

	far_free(NULL);
	CHECK_OK();
	far_free(block + 64);
	CHECK_FAILED(FAR_EPOINTER);
	CHECK(far_error()->address == block + 64);
	far_free(other);
	CHECK_FAILED(FAR_EPOINTER);
	CHECK(!far_realloc(other, 20));
	CHECK_FAILED(FAR_EPOINTER);
	far_free(block);
	far_free(block);
	CHECK_FAILED(FAR_EPOINTER);
	CHECK(far_error()->address == block);
}

TEST(a_block_that_cannot_be_is_refused)
{
	size_t volatile half = SIZE_MAX / 2;	/* the compiler knows better */

	CHECK(!far_alloc(half));
	CHECK_FAILED(FAR_ENOMEM);
	CHECK(!far_calloc(half, 4));
	CHECK_FAILED(FAR_ENOMEM);
	char *block = far_alloc(10);

	strcpy(block, "still");
	CHECK(!far_realloc(block, half));
	CHECK_FAILED(FAR_ENOMEM);
	CHECK_STR(block, "still");
}

/* ---------------------------------------------------------------- buffers */

static const size_t sizes[] = { 0, 1, 15, 16, 17, 100, 447, 448, 449, 4096, 10 << 20 };
enum { SIZES = sizeof sizes / sizeof *sizes };

static long sum_of(const unsigned char *p, size_t n)
{
	long sum = 0;

	while (n--)
		sum += p[n];
	return sum;
}

/* Bytes to send; what is beyond them must stay. */
static unsigned char *new_bytes(size_t n, unsigned seed)
{
	unsigned char *p = malloc(n + 1);

	for (size_t i = 0; i < n; i++)
		p[i] = (unsigned char)(i * 7 + seed);
	p[n] = 0xee;
	return p;
}

static int are_zero(const unsigned char *p, size_t n)
{
	while (n--)
		if (p[n])
			return 0;
	return 1;
}

static int write_all(unsigned char *p, size_t n, int value)
{
	int were_zero = are_zero(p, n);

	memset(p, value, n);
	return were_zero;
}

static void add_one(unsigned char *p, size_t n)
{
	while (n--)
		p[n]++;
}

TEST_BOTH(far_in_copies_in)
{
	struct far_slave *s = START();

	for (int i = 0; i < SIZES; i++) {
		unsigned char *p = new_bytes(sizes[i], 3);
		long sum = sum_of(p, sizes[i]);
		far_task(long) t = far_schedule(s, sum_of, far_in(p, sizes[i]), sizes[i]);

		CHECK_EQ(far_invoke(s, sum_of, far_in(p, sizes[i]), sizes[i]), sum);
		CHECK_OK();
		CHECK_EQ(far_wait(t), sum);
		CHECK_OK();
		free(p);
	}
	CHECK_EQ(far_slave_close(s), 0);
}

TEST(far_in_takes_what_is_there_when_it_is_scheduled)
{
	struct far_slave *s = far_slave_process();
	unsigned char p[10] = { 1 };
	far_task(long) t = far_schedule(s, sum_of, far_in(p, sizeof p), sizeof p);

	p[0] = 100;
	CHECK_EQ(far_wait(t), 1);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(far_out_copies_out)
{
	struct far_slave *s = START();

	for (int i = 0; i < SIZES; i++) {
		unsigned char *p = new_bytes(sizes[i], 3);

		CHECK_EQ(far_invoke(s, write_all, far_out(p, sizes[i]), sizes[i], 9), 1);
		CHECK_OK();
		CHECK_EQ(sum_of(p, sizes[i]), 9 * (long)sizes[i]);
		CHECK_EQ(p[sizes[i]], 0xee);
		far_task(int) t = far_schedule(s, write_all, far_out(p, sizes[i]), sizes[i], 7);

		CHECK_EQ(far_wait_for(t, -1), 0);
		CHECK_EQ(sum_of(p, sizes[i]), 9 * (long)sizes[i]);
		CHECK_EQ(far_wait(t), 1);
		CHECK_EQ(sum_of(p, sizes[i]), 7 * (long)sizes[i]);
		CHECK_EQ(p[sizes[i]], 0xee);
		free(p);
	}
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(far_inout_copies_in_and_out)
{
	struct far_slave *s = START();

	for (int i = 0; i < SIZES; i++) {
		unsigned char *p = new_bytes(sizes[i], 3), *q = new_bytes(sizes[i], 4), *r = new_bytes(sizes[i], 5);

		far_invoke(s, add_one, far_inout(p, sizes[i]), sizes[i]);
		CHECK_OK();
		CHECK(memcmp(p, q, sizes[i] + 1) == 0);
		far_wait(far_schedule(s, add_one, far_inout(p, sizes[i]), sizes[i]));
		CHECK_OK();
		CHECK(memcmp(p, r, sizes[i] + 1) == 0);
		free(p);
		free(q);
		free(r);
	}
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(far_str_copies_a_string_whatever_its_type)
{
	struct far_slave *s = START();

	for (int i = 0; i < SIZES; i++) {
		char *text = malloc(sizes[i] + 1);

		memset(text, 'x', sizes[i]);
		text[sizes[i]] = 0;
		CHECK_EQ(far_invoke(s, strlen, far_str(text)), sizes[i]);
		CHECK_OK();
		CHECK_EQ(far_invoke(s, strlen, (const char *)text), sizes[i]);
		CHECK_OK();
		CHECK_EQ(far_wait(far_schedule(s, strlen, far_str(text))), sizes[i]);
		CHECK_OK();
		free(text);
	}
	CHECK_EQ(far_slave_close(s), 0);
}

static void join(const char *a, unsigned char *out, size_t n, const char *b, int *ints, char *more)
{
	snprintf((char *)out, n, "%s%s%s", a, b, more);
	for (int i = 0; i < 3; i++)
		ints[i] += 10;
	more[0] = 'M';
}

TEST_BOTH(a_call_has_several_buffers)
{
	struct far_slave *s = START();
	char a[300], b[300], more[100] = "more";
	unsigned char out[1000];
	int ints[3] = { 1, 2, 3 };

	strcpy(a, "first ");
	strcpy(b, "second ");
	far_invoke(s, join, (const char *)a, far_out(out, sizeof out), sizeof out, far_str(b), far_inout(ints, sizeof ints),
		   far_inout(more, sizeof more));
	CHECK_OK();
	CHECK_STR((char *)out, "first second more");
	CHECK_EQ(ints[2], 13);
	CHECK_STR(more, "More");
	far_wait(far_schedule(s, join, far_in(a, sizeof a), far_out(out, sizeof out), sizeof out, (const char *)b,
			      far_inout(ints, sizeof ints), far_inout(more, sizeof more)));
	CHECK_OK();
	CHECK_STR((char *)out, "first second More");
	CHECK_EQ(ints[0], 21);
	CHECK_EQ(far_slave_close(s), 0);
}

static int is_aligned(const void *a, const void *b, const void *c)
{
	return ((uintptr_t)a | (uintptr_t)b | (uintptr_t)c) % 16 == 0;
}

TEST(copies_are_aligned_to_16_bytes)
{
	struct far_slave *s = far_slave_process();
	char text[3000] = "";

	for (size_t n = 0; n < 1000; n += 37)
		CHECK(far_invoke(s, is_aligned, far_in(text + 1, n), far_out(text + 3, n + 5), far_inout(text + 1500, 3)));
	CHECK_EQ(far_slave_close(s), 0);
}

static int nth_int(const int *p, int n)
{
	return p[n];
}

TEST_BOTH(a_copied_pointer_may_point_inside_the_buffer)
{
	struct far_slave *s = START();
	int a[300];

	for (int i = 0; i < 300; i++)
		a[i] = i;
	CHECK_EQ(far_invoke(s, nth_int, far_in(a, sizeof a) + 10, 5), 15);
	CHECK_EQ(far_invoke(s, nth_int, far_in(a, sizeof a) + 300, -1), 299);
	CHECK_EQ(far_wait(far_schedule(s, nth_int, far_in(a, sizeof a) + 299, -299)), 0);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(one_object_may_be_copied_twice_in_a_call)
{
	struct far_slave *s = START();
	char text[100] = "same";

	CHECK_EQ(far_invoke(s, strcmp, far_str(text), (const char *)text), 0);
	CHECK_EQ(far_invoke(s, strcmp, far_in(text, 5), far_in(text, 5)), 0);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

static void write_and_raise(unsigned char *p, size_t n)
{
	memset(p, 1, n);
	far_raise(5, "no");
}

static void write_and_die(unsigned char *p, size_t n)
{
	memset(p, 1, n);
	raise(SIGKILL);
}

TEST(far_out_copies_nothing_when_the_call_failed)
{
	for (int i = 0; i < SIZES; i++) {
		struct far_slave *s = far_slave_process();
		unsigned char *p = new_bytes(sizes[i], 3);
		long sum = sum_of(p, sizes[i]);

		far_invoke(s, write_and_raise, far_out(p, sizes[i]), sizes[i]);
		CHECK_FAILED(5);
		CHECK_EQ(sum_of(p, sizes[i]), sum);
		far_wait(far_schedule(s, write_and_raise, far_inout(p, sizes[i]), sizes[i]));
		CHECK_FAILED(5);
		CHECK_EQ(sum_of(p, sizes[i]), sum);
		far_invoke(s, write_and_die, far_out(p, sizes[i]), sizes[i]);
		CHECK_DIED();
		CHECK_EQ(sum_of(p, sizes[i]), sum);
		CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
		free(p);
	}
}

TEST(far_out_copies_nothing_of_a_forgotten_task)
{
	struct far_slave *s = far_slave_process();
	unsigned char p[10] = { 0 };

	far_forget(far_schedule(s, write_all, far_out(p, sizeof p), sizeof p, 9));
	CHECK_EQ(far_slave_close(s), 0);
	CHECK_EQ(p[0], 0);
}

/* Heap in use, as the status tells; its form is the library's business, so just as it is. */
static const char *heap_line(void)
{
	static char line[200];
	const char *start = strstr(status_text(), "heap");

	snprintf(line, sizeof line, "%.*s", start ? (int)strcspn(start, "\n") : 0, start ? start : "");
	return line;
}

TEST(copies_are_freed_however_the_call_ends)
{
	struct far_slave *s = far_slave_process();
	static unsigned char p[1 << 20];
	char before[200] = "";
	int local = 0;

	for (int i = 0; i < 30; i++) {
		far_invoke(s, add_one, far_inout(p, sizeof p), sizeof p);
		far_invoke(s, write_and_raise, far_out(p, sizeof p), sizeof p);
		far_error();
		far_wait(far_schedule(s, add_one, far_inout(p, sizeof p), sizeof p));
		far_forget(far_schedule(s, add_one, far_inout(p, sizeof p), sizeof p));
		far_invoke(s, sum_of, far_in(p, sizeof p), 0);
		far_invoke(s, is_aligned, far_in(p, sizeof p), far_in(p, sizeof p), &local);
		CHECK_FAILED(FAR_EPOINTER);
		far_invoke(s, sum_of, p, 0);
		CHECK_FAILED(FAR_EPOINTER);
		for (int k = 0; k < 150; k++)	/* past the forgotten one */
			far_wait(far_schedule(s, sum_of, NULL, 0));
		if (i == 10)
			strcpy(before, heap_line());
	}
	CHECK_STR(heap_line(), before);
	CHECK_EQ(far_slave_close(s), 0);
}

/* --------------------------------------------------------------- refusals */

static int first_int(int *p)
{
	return p ? *p : -1;
}

static int third_argument(int a, int b, int *p)
{
	return a + b + (p ? *p : -1);
}

static int static_int = 5;
static __thread int thread_int = 6;

static void check_refused(struct far_slave *s, int *p, const char *kind)
{
	CHECK_EQ(far_invoke(s, third_argument, 1, 2, p), 0);
	CHECK_FAILED(FAR_EPOINTER);
	CHECK(far_error()->address == p);
	CHECK_STR(far_error()->function, "third_argument");
	CHECK_HAS(far_error()->message, "argument 3");
	CHECK_HAS(far_error()->message, "third_argument");
	CHECK_HAS(far_error()->message, "far_in");
	CHECK_HAS(far_error()->message, "memory_test.c");
	CHECK_HAS(far_error()->message, kind);
	CHECK(!far_schedule(s, third_argument, 1, 2, p));
	CHECK_FAILED(FAR_EPOINTER);
}

static void *refused_there(void *arg)
{
	int local = 7;

	check_refused(arg, &local, "this thread's stack");
	return NULL;
}

static int *other_stack;
static pthread_barrier_t barrier;

static void *lend_stack(void *unused)
{
	int local = 8;

	other_stack = &local;
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return unused;
}

TEST(pointers_to_private_memory_are_refused)
{
	struct far_slave *s = far_slave_process();
	int local = 1, *small = malloc(sizeof *small), *large = malloc(1 << 24);
	pthread_t thread;

	*small = *large = 2;
	check_refused(s, &local, "stack");
	check_refused(s, small, "heap");
	check_refused(s, large, "private memory");
	check_refused(s, &static_int, "static data");
	check_refused(s, &thread_int, "private memory");
	pthread_create(&thread, NULL, refused_there, s);
	pthread_join(thread, NULL);
	pthread_barrier_init(&barrier, NULL, 2);
	pthread_create(&thread, NULL, lend_stack, NULL);
	pthread_barrier_wait(&barrier);
	check_refused(s, other_stack, "another thread's stack");
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
	CHECK_EQ(far_invoke(s, first_int, NULL), -1);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

TEST(a_slave_thread_takes_private_pointers)
{
	struct far_slave *s = far_slave_thread();
	int local = 1, *small = malloc(sizeof *small);

	*small = 2;
	CHECK_EQ(far_invoke(s, first_int, &local), 1);
	CHECK_EQ(far_invoke(s, first_int, small), 2);
	CHECK_EQ(far_invoke(s, first_int, &static_int), 5);
	CHECK_EQ(far_invoke(s, first_int, &thread_int), 6);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

static size_t length_of(char *p)
{
	return strlen(p);
}

TEST(const_char_is_copied_and_char_is_refused)
{
	struct far_slave *s = far_slave_process();
	char text[] = "private", *p = text;
	const char *c = text;

	CHECK_EQ(far_invoke(s, strlen, c), 7);
	CHECK_EQ(far_wait(far_schedule(s, strlen, c)), 7);
	CHECK_OK();
	CHECK_EQ(far_invoke(s, strlen, p), 0);
	CHECK_FAILED(FAR_EPOINTER);
	CHECK_EQ(far_invoke(s, length_of, text), 0);
	CHECK_FAILED(FAR_EPOINTER);
	CHECK_EQ(far_invoke(s, length_of, far_str(text)), 7);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(several_words_for_one_argument_are_refused)
{
	struct far_slave *s = START();
	char a[10] = "a", b[10] = "b", c[10] = "c";

	CHECK_EQ(far_invoke(s, strlen, ((void)far_in(a, 10), (void)far_in(b, 10), far_in(c, 10))), 0);
	CHECK_FAILED(FAR_EINVAL);
	CHECK_HAS(far_error()->message, "argument 1 has several");
	CHECK_EQ(far_invoke(s, strcmp, far_in(a, 10), ((void)far_fd(0), (void)far_fd(0), (void)far_fd(0), far_in(c, 10))), 0);
	CHECK_FAILED(FAR_EINVAL);
	CHECK_EQ(far_invoke(s, strlen, far_in(c, 10)), 1);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

TEST(a_string_that_does_not_end_is_refused)
{
	struct far_slave *s = far_slave_process();
	char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memset(pages, 'x', 4096);
	munmap(pages + 4096, 4096);
	CHECK_EQ(far_invoke(s, strlen, (const char *)pages), 0);
	CHECK_FAILED(FAR_EPOINTER);
	CHECK_HAS(far_error()->message, "argument 1");
	CHECK_EQ(far_invoke(s, strlen, far_str(pages)), 0);
	CHECK_FAILED(FAR_EPOINTER);
	pages[4095] = 0;
	CHECK_EQ(far_invoke(s, strlen, far_str(pages)), 4095);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

TEST(a_slaves_pointers_are_its_own)
{
	struct far_slave *a = far_slave_process(), *b = far_slave_process(), *t = far_slave_thread();

	for (size_t size = 8; size <= 1 << 22; size *= 8) {
		int *p = far_invoke(a, calloc, 1, size);

		CHECK_OK();
		CHECK_EQ(far_invoke(a, first_int, p), 0);
		CHECK_OK();
		CHECK_EQ(far_invoke(a, first_int, p + 1), 0);
		CHECK_OK();
		far_invoke(b, first_int, p);
		CHECK_FAILED(FAR_ESTALE);
		CHECK(far_error()->address == p);
		far_invoke(t, first_int, p);
		CHECK_FAILED(FAR_ESTALE);
		far_invoke(a, free, p);
		CHECK_OK();
	}
	int *p = far_invoke(a, calloc, 1, 8);

	CHECK_EQ(far_slave_close(a), 0);
	far_invoke(b, first_int, p);
	CHECK_FAILED(FAR_ESTALE);
	CHECK_EQ(far_slave_close(b), 0);
	CHECK_EQ(far_slave_close(t), 0);
}

static FILE *open_null(void)
{
	return fopen("/dev/null", "w");
}

TEST(a_slave_keeps_a_file_open)
{
	struct far_slave *s = far_slave_process();
	FILE *f = far_invoke(s, open_null);

	CHECK(f);
	CHECK_EQ(far_invoke(s, fputs, "text", f), 1);
	CHECK_EQ(far_invoke(s, fprintf, f, "%d\n", 12), 3);
	CHECK_EQ(far_invoke(s, fclose, f), 0);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

static int *where_is_mine(void)
{
	static int mine = 42;

	return &mine;
}

TEST(a_slaves_static_data_is_vouched_for)
{
	struct far_slave *s = far_slave_process();
	int *p = far_invoke(s, where_is_mine);

	CHECK_EQ(far_invoke(s, first_int, far_remote(p)), 42);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

static const int table[] = { 3, 4, 5 };
static const char *const words[] = { "one", "two" };

static const char *nth_word(const char *const *p, int n)
{
	return p[n];
}

static int is_three(void *p)
{
	return p == (void *)3;
}

static int is_map_failed(void *p)
{
	return p == MAP_FAILED;
}

static int call_it(int (*f)(const int *, int), const int *p)
{
	return f(p, 1);
}

TEST(what_means_the_same_everywhere_goes_as_it_is)
{
	struct far_slave *s = far_slave_process();

	CHECK_EQ(far_invoke(s, nth_int, table, 2), 5);
	CHECK_STR(far_invoke(s, nth_word, words, 1), "two");
	CHECK(far_invoke(s, nth_word, words, 1) == words[1]);
	CHECK_EQ(far_invoke(s, is_three, (void *)3), 1);
	CHECK_EQ(far_invoke(s, is_map_failed, MAP_FAILED), 1);
	CHECK_EQ(far_invoke(s, call_it, nth_int, table), 4);
	CHECK_EQ(far_invoke(s, fputs, "", stdout) >= 0, 1);
	CHECK_EQ(far_invoke(s, fflush, stderr), 0);
	CHECK_OK();
	int *shared = far_calloc(10, sizeof *shared);

	shared[9] = 9;
	CHECK_EQ(far_invoke(s, first_int, shared + 9), 9);
	CHECK_EQ(far_invoke(s, strlen, "literal"), 7);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST(far_remote_passes_anything)
{
	struct far_slave *s = far_slave_process();
	int *p = (int *)(uintptr_t)0x7000000000;

	CHECK_EQ(far_invoke(s, third_argument, 1, 2, far_remote((int *)NULL)), 2);
	CHECK_EQ(far_invoke(s, is_three, far_remote((void *)p)), 0);
	CHECK_OK();
	far_invoke(s, first_int, far_remote(p));
	CHECK_DIED();
	CHECK_EQ(far_error()->signal, SIGSEGV);
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
}

TEST(after_a_refusal_the_slave_is_as_before)
{
	struct far_slave *s = far_slave_process(.queue = 2);
	int local = 1;

	for (int i = 0; i < 10; i++) {
		CHECK(!far_schedule(s, first_int, &local));
		CHECK_FAILED(FAR_EPOINTER);
		CHECK_EQ(far_wait(far_schedule(s, nth_int, far_in(&local, sizeof local), 0)), 1);
		CHECK_OK();
	}
	CHECK_EQ(far_slave_close(s), 0);
}

/* ------------------------------------------------------------ descriptors */

static int read_first(int fd)
{
	char c = 0;
	ssize_t n = pread(fd, &c, 1, 0);

	if (n < 0 && errno == ESPIPE)
		n = read(fd, &c, 1);
	int flags = fcntl(fd, F_GETFD);

	close(fd);
	return n == 1 && flags == FD_CLOEXEC ? c : -1;
}

static int fds_there(void)
{
	return count_fds();
}

TEST_BOTH(files_pipes_and_sockets_are_passed)
{
	struct far_slave *s = START();
	int file = memfd_create("file", MFD_CLOEXEC), p[2], pair[2];

	CHECK(write(file, "f", 1) == 1);
	CHECK(pipe(p) == 0 && write(p[1], "pp", 2) == 2);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && write(pair[1], "s", 1) == 1);
	CHECK_EQ(far_invoke(s, read_first, far_fd(file)), 'f');
	CHECK_EQ(far_invoke(s, read_first, far_fd(p[0])), 'p');
	CHECK_EQ(far_wait(far_schedule(s, read_first, far_fd(p[0]))), 'p');
	CHECK_EQ(far_invoke(s, read_first, far_fd(pair[0])), 's');
	CHECK_OK();
	CHECK(fcntl(file, F_GETFD) >= 0);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(what_is_no_descriptor_is_refused)
{
	struct far_slave *s = START();
	int closed = dup(0);

	close(closed);
	CHECK_EQ(far_invoke(s, read_first, far_fd(closed)), 0);
	CHECK_FAILED(FAR_EINVAL);
	CHECK_EQ(far_error()->errnum, EBADF);
	CHECK_EQ(far_invoke(s, read_first, far_fd(-1)), 0);
	CHECK_FAILED(FAR_EINVAL);
	CHECK(!far_schedule(s, read_first, far_fd(-1)));
	CHECK_FAILED(FAR_EINVAL);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(a_bad_descriptor_is_told_after_another_error)
{
	struct far_slave *dead = far_slave_process(), *s = START();

	far_invoke(dead, raise, SIGKILL);
	CHECK_DIED();
	CHECK_EQ(far_invoke(s, read_first, far_fd(-1)), 0);
	CHECK_FAILED(FAR_EINVAL);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST(a_descriptor_for_no_slave_is_an_error)
{
	CHECK_EQ(far_invoke(NULL, read_first, far_fd(0)), 0);
	CHECK_FAILED(FAR_ECLOSED);
	struct far_slave *s = far_slave_process();

	far_invoke(s, raise, SIGKILL);
	CHECK_EQ(far_invoke(s, read_first, far_fd(0)), 0);
	CHECK_DIED();
}

TEST_BOTH(two_hundred_descriptors_leave_nothing_behind)
{
	struct far_slave *s = START();
	int file = memfd_create("file", MFD_CLOEXEC);

	CHECK(write(file, "f", 1) == 1);
	far_invoke(s, read_first, far_fd(file));
	int here = count_fds(), there = far_invoke(s, fds_there);

	for (int i = 0; i < 200; i++)
		CHECK_EQ(far_invoke(s, read_first, far_fd(file)), 'f');
	CHECK(count_fds() <= here + 2);
	CHECK(far_invoke(s, fds_there) <= there + 2);	/* what it sleeps with */
	CHECK_EQ(far_slave_close(s), 0);
}

static int read_both(int fd, int *p)
{
	return p ? read_first(fd) : -1;
}

TEST_BOTH(a_refused_call_keeps_no_descriptor)
{
	struct far_slave *s = START(), *other = far_slave_process();
	int file = memfd_create("file", MFD_CLOEXEC), *theirs = far_invoke(other, malloc, 4);

	CHECK(write(file, "f", 1) == 1);
	far_invoke(s, read_first, far_fd(file));
	int here = count_fds(), there = far_invoke(s, fds_there);

	for (int i = 0; i < 10; i++) {
		far_invoke(s, read_both, far_fd(file), theirs);
		CHECK_FAILED(FAR_ESTALE);
	}
	CHECK(count_fds() <= here + 2);
	CHECK(far_invoke(s, fds_there) <= there + 2);	/* what it sleeps with */
	CHECK_EQ(far_slave_close(s), 0);
}

struct huge { char byte[1 << 20]; };

static struct huge make_huge(int fd)
{
	static struct huge h;

	read_first(fd);
	return h;
}

PLAIN(a_call_without_room_for_its_result_keeps_no_descriptor)
{
	setenv("FARCALL_HEAP", "16M", 1);
	CHECK_EQ(far_init(), 0);
	struct far_slave *s = far_slave_process();
	int file = memfd_create("file", MFD_CLOEXEC);
	static struct huge h;

	CHECK(write(file, "f", 1) == 1);
	far_invoke(s, read_first, far_fd(file));
	int there = far_invoke(s, fds_there);

	while (far_alloc(1 << 16))
		;
	CHECK_FAILED(FAR_ENOMEM);
	for (int i = 0; i < 10; i++) {
		h = far_invoke(s, make_huge, far_fd(file));
		CHECK_FAILED(FAR_ENOMEM);
	}
	CHECK_EQ(h.byte[0], 0);
	CHECK(far_invoke(s, fds_there) <= there + 2);	/* what it sleeps with */
	CHECK_EQ(far_slave_close(s), 0);
}

struct passing { pthread_t thread; struct far_slave *slave; int fd; };

static void *pass_many(void *arg)
{
	struct passing *p = arg;

	for (int i = 0; i < 100; i++) {
		CHECK_EQ(far_invoke(p->slave, read_first, far_fd(p->fd)), 'f');
		CHECK_OK();
	}
	return NULL;
}

TEST_BOTH(threads_pass_descriptors_at_the_same_time)
{
	struct far_slave *s = START();
	struct passing p[4];
	int file = memfd_create("file", MFD_CLOEXEC);

	CHECK(write(file, "f", 1) == 1);
	for (int i = 0; i < 4; i++) {
		p[i] = (struct passing){ .slave = s, .fd = file };
		pthread_create(&p[i].thread, NULL, pass_many, &p[i]);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(p[i].thread, NULL);
	CHECK_EQ(far_slave_close(s), 0);
}
