/*
 * Reading, scaling and writing the images of thumbs.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <farcall.h>
#include <png.h>

#include "image.h"

enum { CHANNELS = 4, RED = 0, GREEN, BLUE, ALPHA };

static struct image *image_new(uint32_t width, uint32_t height)
{
	struct image *image = far_alloc(sizeof *image + (size_t)width * height * CHANNELS);

	if (image) {
		image->width = width;
		image->height = height;
	}
	return image;
}

static uint8_t *row(struct image *image, uint32_t y)
{
	return image->pixels + (size_t)y * image->width * CHANNELS;
}

static FILE *open_file(const char *path, const char *mode)
{
	FILE *file = fopen(path, mode);

	if (!file)
		far_raise(errno, "%s", strerror(errno));
	return file;
}

static void close_written(FILE *file)
{
	if (fclose(file) != 0)
		far_raise(errno, "%s", strerror(errno));
}

void image_read(const char *path, struct image **result)
{
	FILE *file = open_file(path, "rbe");
	png_struct *png = png_create_read_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
	png_info *info = png_create_info_struct(png);

	png_init_io(png, file);
	png_read_info(png, info);
	png_set_expand(png);			/* palettes, 1 to 4 bits, a transparent colour */
	png_set_scale_16(png);
	png_set_gray_to_rgb(png);
	png_set_add_alpha(png, 255, PNG_FILLER_AFTER);
	int passes = png_set_interlace_handling(png);
	png_read_update_info(png, info);

	uint32_t width = png_get_image_width(png, info);
	uint32_t height = png_get_image_height(png, info);
	struct image *image = image_new(width, height);

	*result = image;
	if (image) {
		while (passes--)
			for (uint32_t y = 0; y < height; y++)
				png_read_row(png, row(image, y), NULL);
		png_read_end(png, NULL);
	}
	png_destroy_read_struct(&png, &info, NULL);
	fclose(file);
	if (!image)
		far_raise(ENOMEM, "no memory for %u x %u pixels", width, height);
}

static png_struct *begin_writing(FILE *file, png_info **info, uint32_t width, uint32_t height,
				 int type)
{
	png_struct *png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);

	*info = png_create_info_struct(png);
	png_init_io(png, file);
	png_set_IHDR(png, *info, width, height, 8, type, PNG_INTERLACE_NONE,
		     PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
	png_write_info(png, *info);
	return png;
}

void image_write(const struct image *image, const char *path)
{
	FILE *file = open_file(path, "wbe");
	uint32_t width = image->width, height = image->height;
	png_info *info;
	png_struct *png = begin_writing(file, &info, width, height, PNG_COLOR_TYPE_RGB_ALPHA);

	for (uint32_t y = 0; y < height; y++)
		png_write_row(png, image->pixels + (size_t)y * width * CHANNELS);
	png_write_end(png, NULL);
	png_destroy_write_struct(&png, &info);
	close_written(file);
}

/* The pixels [begin, end) of @from that pixel @i of @to, fewer, lies on. */
struct span {
	uint32_t begin, end;
};

static struct span span(uint32_t i, uint32_t from, uint32_t to)
{
	return (struct span){
		.begin = (uint32_t)((uint64_t)i * from / to),
		.end = (uint32_t)(((uint64_t)(i + 1) * from + to - 1) / to),
	};
}

/*
 * How much of pixel @p of @from lies under pixel @i of @to, in units that keep
 * it whole: a pixel of @from is @to long, one of @to is @from long.
 */
static uint64_t overlap(uint32_t p, uint32_t from, uint32_t i, uint32_t to)
{
	uint64_t begin = (uint64_t)p * to, end = begin + to;
	uint64_t low = (uint64_t)i * from, high = low + from;

	return (end < high ? end : high) - (begin > low ? begin : low);
}

/*
 * The mean of what lies under pixel (@x, @y) of @to. A colour counts by its
 * alpha: a transparent pixel has none. The sums stay below
 * 255 * 255 * width * height, which fits: libpng reads 10^6 x 10^6 at most.
 */
static void mean(const struct image *from, const struct image *to, uint32_t x, uint32_t y,
		 uint8_t *pixel)
{
	struct span rows = span(y, from->height, to->height);
	struct span columns = span(x, from->width, to->width);
	uint64_t area = (uint64_t)from->width * from->height;
	uint64_t red = 0, green = 0, blue = 0, alpha = 0;

	for (uint32_t v = rows.begin; v < rows.end; v++) {
		uint64_t down = overlap(v, from->height, y, to->height);
		size_t first = (size_t)v * from->width + columns.begin;
		const uint8_t *p = from->pixels + first * CHANNELS;

		for (uint32_t u = columns.begin; u < columns.end; u++, p += CHANNELS) {
			uint64_t weight = p[ALPHA] * down * overlap(u, from->width, x, to->width);

			red += p[RED] * weight;
			green += p[GREEN] * weight;
			blue += p[BLUE] * weight;
			alpha += weight;
		}
	}
	memset(pixel, 0, CHANNELS);
	if (alpha == 0)
		return;
	pixel[RED] = (uint8_t)((red + alpha / 2) / alpha);
	pixel[GREEN] = (uint8_t)((green + alpha / 2) / alpha);
	pixel[BLUE] = (uint8_t)((blue + alpha / 2) / alpha);
	pixel[ALPHA] = (uint8_t)((alpha + area / 2) / area);
}

/* @length in the proportion @size : @longest, but not nothing. */
static uint32_t fit(uint32_t length, uint32_t longest, uint32_t size)
{
	uint32_t fitted = (uint32_t)(((uint64_t)length * size + longest / 2) / longest);

	return fitted ? fitted : 1;
}

void image_scale(const struct image *from, uint32_t size, struct image **result)
{
	uint32_t longest = from->width > from->height ? from->width : from->height;

	if (size > longest)
		size = longest;
	uint32_t width = fit(from->width, longest, size), height = fit(from->height, longest, size);
	struct image *to = image_new(width, height);

	if (!to)
		far_raise(ENOMEM, "no memory for the thumbnail");
	*result = to;
	for (uint32_t y = 0; y < height; y++)
		for (uint32_t x = 0; x < width; x++)
			mean(from, to, x, y, row(to, y) + (size_t)x * CHANNELS);
}

/*
 * The contact sheet: a grid of square cells with gaps between and around them.
 * It is written one row of pixels at a time, and so never in memory as a whole.
 */
enum { GAP = 8, PAPER = 0x2b, CELL = 0x3a, CROSS_RED = 0xc8, CROSS = 0x4a };

struct sheet {
	uint32_t columns, rows, cell;
};

static struct sheet sheet_for(uint32_t count, uint32_t size)
{
	struct sheet sheet = { .columns = 1, .cell = size };

	/* Half as many columns again as rows, but no endless ones. */
	while (sheet.columns < 16 && sheet.columns * sheet.columns * 2 < count * 3)
		sheet.columns++;
	sheet.rows = (count + sheet.columns - 1) / sheet.columns;
	sheet.columns = (count + sheet.rows - 1) / sheet.rows;	/* the last row as long as can be */
	return sheet;
}

static uint32_t sheet_length(uint32_t cells, uint32_t cell)
{
	return cells * (cell + GAP) + GAP;
}

/* One pixel row of a crossed-out cell. */
static void cross_row(png_byte *out, uint32_t cell, uint32_t y)
{
	uint32_t thick = cell / 40 + 1;

	for (uint32_t x = 0; x < cell; x++, out += 3) {
		uint32_t falling = x > y ? x - y : y - x;
		uint32_t rising = x + y > cell - 1 ? x + y - (cell - 1) : cell - 1 - (x + y);

		if (falling < thick || rising < thick) {
			out[RED] = CROSS_RED;
			out[GREEN] = out[BLUE] = CROSS;
		}
	}
}

/* Lay @over, with its alpha, on @under. */
static png_byte blend(unsigned over, unsigned under, unsigned alpha)
{
	return (png_byte)((over * alpha + under * (255 - alpha) + 127) / 255);
}

/* Row @y of a cell, with @image in its middle. */
static void image_row(png_byte *out, const struct image *image, uint32_t cell, uint32_t y)
{
	uint32_t left = (cell - image->width) / 2, top = (cell - image->height) / 2;

	if (y < top || y - top >= image->height)
		return;
	const uint8_t *p = image->pixels + (size_t)(y - top) * image->width * CHANNELS;
	out += left * 3;
	for (uint32_t x = 0; x < image->width; x++, p += CHANNELS, out += 3)
		for (int c = RED; c <= BLUE; c++)
			out[c] = blend(p[c], out[c], p[ALPHA]);
}

/* Pixel row @y of the whole sheet. */
static void sheet_row(png_byte *out, const struct sheet *sheet, struct image *const *images,
		      uint32_t count, uint32_t y)
{
	uint32_t pitch = sheet->cell + GAP;
	uint32_t first = y / pitch * sheet->columns, in_cell = y % pitch - GAP;

	memset(out, PAPER, sheet_length(sheet->columns, sheet->cell) * 3);
	if (y % pitch < GAP)
		return;
	for (uint32_t i = 0; i < sheet->columns && first + i < count; i++) {
		png_byte *cell = out + (i * pitch + GAP) * 3;

		memset(cell, CELL, sheet->cell * 3);
		if (images[first + i])
			image_row(cell, images[first + i], sheet->cell, in_cell);
		else
			cross_row(cell, sheet->cell, in_cell);
	}
}

void image_write_sheet(struct image *const *images, uint32_t count, uint32_t size,
		       const char *path)
{
	struct sheet sheet = sheet_for(count, size);
	uint32_t width = sheet_length(sheet.columns, size), height = sheet_length(sheet.rows, size);
	png_byte *line = malloc((size_t)width * 3);

	if (!line)
		far_raise(ENOMEM, "no memory for the contact sheet");
	FILE *file = open_file(path, "wbe");
	png_info *info;
	png_struct *png = begin_writing(file, &info, width, height, PNG_COLOR_TYPE_RGB);

	for (uint32_t y = 0; y < height; y++) {
		sheet_row(line, &sheet, images, count, y);
		png_write_row(png, line);
	}
	png_write_end(png, NULL);
	png_destroy_write_struct(&png, &info);
	free(line);
	close_written(file);
}
