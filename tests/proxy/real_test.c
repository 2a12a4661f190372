/*
 * Libraries as they are, which this program is not linked with: SQLite, zlib and
 * libpng in a slave, by their own headers.
 */
#include <png.h>
#include <sqlite3.h>
#include <stdint.h>
#include <zlib.h>

#include "core/check.h"

static far_library *open_library(struct far_slave *s, const char *name)
{
	far_library *l = far_open(s, name);

	if (!l)
		fail_at(__FILE__, __LINE__, "%s is not there", name);
	return l;
}

/* ------------------------------------------------------------------- SQLite */

/* Called over there, for each row of a result. */
static int add_up(void *sum, int columns, char **value, char **name)
{
	(void)columns;
	(void)name;
	*(long *)sum += atol(value[0]);
	return 0;
}

TEST_BOTH(sqlite_keeps_its_database_in_the_slave)
{
	struct far_slave *s = START(.name = "sqlite");
	far_library *q = open_library(s, "libsqlite3.so.0");
	sqlite3 *db = NULL;
	sqlite3_stmt *statement = NULL;

	CHECK_EQ(far_invoke(q, sqlite3_open, ":memory:", far_out(&db, sizeof db)), SQLITE_OK);
	CHECK_EQ(far_invoke(q, sqlite3_exec, db, "create table t(n integer, name text)", NULL, NULL, NULL), SQLITE_OK);
	CHECK_EQ(far_invoke(q, sqlite3_prepare_v2, db, "insert into t values(?, ?)", -1, far_out(&statement, sizeof statement), NULL),
		 SQLITE_OK);
	CHECK_OK();
	for (int i = 1; i <= 100; i++) {
		char name[20];

		snprintf(name, sizeof name, "name %d", i);
		CHECK_EQ(far_invoke(q, sqlite3_bind_int, statement, 1, i), SQLITE_OK);
		CHECK_EQ(far_invoke(q, sqlite3_bind_text, statement, 2, (const char *)name, -1, SQLITE_TRANSIENT), SQLITE_OK);
		CHECK_EQ(far_invoke(q, sqlite3_step, statement), SQLITE_DONE);
		CHECK_EQ(far_invoke(q, sqlite3_reset, statement), SQLITE_OK);
	}
	CHECK_EQ(far_invoke(q, sqlite3_finalize, statement), SQLITE_OK);
	long *sum = far_calloc(1, sizeof *sum);

	CHECK_EQ(far_invoke(q, sqlite3_exec, db, "select n from t", add_up, sum, NULL), SQLITE_OK);
	CHECK_EQ(*sum, 5050);
	CHECK_EQ(far_call(q, int, "int sqlite3_exec(sqlite3 *, const char *, void *, void *, char **)", db, "select", NULL, NULL, NULL), 0);
	CHECK_FAILED(FAR_ETYPE);	/* it does not know what a sqlite3 is */
	CHECK_EQ(far_call(q, int, "int sqlite3_exec(struct sqlite3 *, const char *, void *, void *, char **)", db, "select", NULL, NULL,
			  NULL), SQLITE_ERROR);
	char *message = far_invoke(q, strdup, far_invoke(q, sqlite3_errmsg, db));

	CHECK_EQ(far_invoke(s, strncmp, message, "incomplete", 5), 0);
	CHECK_EQ(far_invoke(q, sqlite3_close, db), SQLITE_OK);
	CHECK_OK();
	far_free(sum);
	CHECK_EQ(far_library_close(q), 0);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(sqlites_file_system_is_a_remote_object)
{
	struct far_slave *s = START();
	far_library *q = open_library(s, "libsqlite3.so.0");

	CHECK_EQ(far_invoke(q, sqlite3_initialize), SQLITE_OK);
	sqlite3_vfs *vfs = far_wrap(q, sqlite3_vfs_find, NULL);

	CHECK_OK();
	CHECK(vfs && vfs->iVersion >= 1 && vfs->mxPathname > 0 && vfs->xOpen);
	char *bytes = far_calloc(1, 64);
	double *day = far_calloc(1, sizeof *day);
	int *result = far_calloc(1, sizeof *result);

	CHECK_EQ(vfs->xRandomness(vfs, 64, bytes) > 0, 1);
	CHECK(memchr(bytes, 0, 64) != bytes || bytes[1]);
	CHECK_EQ(vfs->xCurrentTime(vfs, day), 0);
	CHECK(*day > 2460000 && *day < 2500000);	/* Julian days: from 2023 on */
	CHECK_EQ(vfs->xAccess(vfs, "/", SQLITE_ACCESS_EXISTS, result), SQLITE_OK);
	CHECK_EQ(*result, 1);
	CHECK_EQ(vfs->xFullPathname(vfs, "/dev/../dev/null", 64, bytes), SQLITE_OK);
	CHECK_STR(bytes, "/dev/null");
	char private[8];

	vfs->xRandomness(vfs, 8, private);
	CHECK_EQ(far_error() != NULL, in_process);	/* a thread can reach it */
	(void)far_error();
	far_free(bytes);
	far_free(day);
	far_free(result);
	CHECK_EQ(far_drop(vfs), 0);
	CHECK_EQ(far_library_close(q), 0);
	CHECK_EQ(far_slave_close(s), 0);
}

/* --------------------------------------------------------------------- zlib */

TEST_BOTH(zlib_compresses_a_stream_in_the_slave)
{
	enum { SIZE = 1 << 20, PIECE = 10000 };
	struct far_slave *s = START();
	far_library *z = open_library(s, "libz.so.1");
	z_stream *stream = far_calloc(1, sizeof *stream);
	unsigned char *plain = far_alloc(SIZE), *packed = far_alloc(SIZE), *again = far_calloc(1, SIZE);

	for (int i = 0; i < SIZE; i++)
		plain[i] = (unsigned char)(i / 100 * 7);
	CHECK_EQ(far_invoke(z, deflateInit_, stream, 6, ZLIB_VERSION, (int)sizeof *stream), Z_OK);
	stream->next_out = packed;
	stream->avail_out = SIZE;
	for (int at = 0; at < SIZE; at += PIECE) {
		stream->next_in = plain + at;
		stream->avail_in = SIZE - at < PIECE ? SIZE - at : PIECE;
		CHECK_EQ(far_invoke(z, deflate, stream, at + PIECE < SIZE ? Z_NO_FLUSH : Z_FINISH), at + PIECE < SIZE ? Z_OK : Z_STREAM_END);
	}
	uLong length = stream->total_out;

	CHECK(length > 0 && length < SIZE / 10);
	CHECK_EQ(far_invoke(z, deflateEnd, stream), Z_OK);
	uLongf *room = far_alloc(sizeof *room);

	*room = SIZE;
	int (*unpack)(Bytef *, uLongf *, const Bytef *, uLong) =
		far_bind(z, "int uncompress(unsigned char *, unsigned long *, const unsigned char *, unsigned long)",
			 int (*)(Bytef *, uLongf *, const Bytef *, uLong));

	CHECK_EQ(unpack(again, room, packed, length), Z_OK);
	CHECK_EQ(*room, SIZE);
	CHECK(!memcmp(plain, again, SIZE));
	CHECK_OK();
	far_free(stream);
	far_free(plain);
	far_free(packed);
	far_free(again);
	far_free(room);
	CHECK_EQ(far_library_close(z), 0);
	CHECK_EQ(far_slave_close(s), 0);
}

/* ------------------------------------------------------------------- libpng */

struct file {
	size_t length;
	unsigned char bytes[4096];
};

/* Called over there, by libpng: io is what png_set_write_fn() was given. */
static void write_bytes(struct file *f, png_bytep bytes, size_t length)
{
	if (length <= sizeof f->bytes - f->length)
		memcpy(f->bytes + f->length, bytes, length);
	f->length += length;
}

static struct file *sink;	/* in the slave */

static void write_to_sink(png_structp png, png_bytep bytes, size_t length)
{
	(void)png;
	write_bytes(sink, bytes, length);
}

static void set_sink(struct file *f)
{
	sink = f;
}

TEST_BOTH(libpng_writes_through_a_function_of_ours)
{
	struct far_slave *s = START();
	far_library *p = open_library(s, "libpng16.so.16");
	struct file *file = far_calloc(1, sizeof *file);
	unsigned char *row = far_calloc(1, 16);
	png_structp png = far_invoke(p, png_create_write_struct, PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
	png_infop info = far_invoke(p, png_create_info_struct, png);

	CHECK(png && info);
	far_invoke(s, set_sink, file);
	far_invoke(p, png_set_write_fn, png, NULL, write_to_sink, NULL);
	far_invoke(p, png_set_IHDR, png, info, 16, 4, 8, PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
		   PNG_FILTER_TYPE_DEFAULT);
	far_invoke(p, png_write_info, png, info);
	for (int i = 0; i < 4; i++)
		far_invoke(p, png_write_row, png, row);
	far_invoke(p, png_write_end, png, info);
	CHECK_OK();
	CHECK(file->length > 60 && file->length < sizeof file->bytes);
	CHECK(!memcmp(file->bytes, "\x89PNG\r\n", 6));
	CHECK(!memcmp(file->bytes + file->length - 8, "IEND", 4));
	far_invoke(p, png_destroy_write_struct, far_inout(&png, sizeof png), far_inout(&info, sizeof info));
	CHECK_OK();
	CHECK(!png && !info);
	far_free(file);
	far_free(row);
	CHECK_EQ(far_library_close(p), 0);
	CHECK_EQ(far_slave_close(s), 0);
}
