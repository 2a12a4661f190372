/*
 * make_pictures: make the pictures of the demo, one of every kind that PNG files
 * come in, and some that are broken.
 */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <png.h>

enum { PALETTE = 1 << 8 };		/* the most colours there are in one */

/* All from 0 to 1. In a palette picture, red is the place in the palette. */
struct colour {
	double red, green, blue, alpha;
};

/* ------------------------------------------------------------------ motifs
 *
 * Each is a function of a point: @x from 0 to the picture's width by its height,
 * @y from 0, the top, to 1.
 */

static double clamp(double v)
{
	return v < 0 ? 0 : v > 1 ? 1 : v;
}

static struct colour mix(struct colour a, struct colour b, double t)
{
	t = clamp(t);
	return (struct colour){
		a.red + (b.red - a.red) * t, a.green + (b.green - a.green) * t,
		a.blue + (b.blue - a.blue) * t, a.alpha + (b.alpha - a.alpha) * t,
	};
}

static struct colour grey(double v)
{
	return (struct colour){ v, v, v, 1 };
}

/* 1 within @radius of the point (@cx, @cy), 0 outside, and a soft edge. */
static double disc(double x, double y, double cx, double cy, double radius, double edge)
{
	return clamp((radius - hypot(x - cx, y - cy)) / edge + 0.5);
}

static double plasma(double x, double y)
{
	double across = sin(7 * x + 2 * sin(3 * y)), down = sin(9 * y + 3 * sin(4 * x));

	return 0.5 + (across + down + sin(11 * hypot(x - 0.9, y - 0.3))) / 6;
}

static struct colour paint_plasma(double x, double y)
{
	return grey(plasma(x, y));
}

/* A ball in a soft light, on a table. */
static struct colour paint_ball(double x, double y)
{
	double dx = (x - 0.5) / 0.34, dy = (y - 0.46) / 0.34, d = dx * dx + dy * dy;
	double shadow = disc(x, y * 3, 0.56, 0.84 * 3, 0.3, 0.3);

	if (d >= 1)
		return grey((0.88 - 0.35 * y) * (1 - 0.6 * shadow));
	double light = (-dx - 1.2 * dy + 1.4 * sqrt(1 - d)) / 2.1;
	return grey(clamp(0.08 + 0.7 * clamp(light) + 0.35 * pow(clamp(light), 24)));
}

static struct colour paint_checker(double x, double y)
{
	double angle = atan2(y - 0.5, x - 0.5) * 12 / M_PI;
	double distance = log(hypot(x - 0.5, y - 0.5) + 0.001) * 5;

	return grey(((int)floor(angle) + (int)floor(distance)) & 1);
}

/* How soon z^2 + c leaves the circle around 0, smoothly, as 0 to 1; 0 if never. */
static double escape(double zx, double zy, double cx, double cy, int limit)
{
	for (int i = 0; i < limit; i++) {
		double x2 = zx * zx, y2 = zy * zy;

		if (x2 + y2 > 256)
			return clamp((i + 2 - log2(log2(x2 + y2))) / limit);
		zy = 2 * zx * zy + cy;
		zx = x2 - y2 + cx;
	}
	return 0;
}

static struct colour paint_mandelbrot(double x, double y)
{
	double t = escape(0, 0, (x - 0.96) * 2.4, (y - 0.5) * 2.4, 96);

	return grey(t > 0 ? pow(t, 0.45) : 0);
}

static struct colour paint_julia(double x, double y)
{
	static const struct colour deep = { 0.02, 0.05, 0.16, 1 }, sea = { 0.10, 0.45, 0.60, 1 },
		foam = { 0.98, 0.95, 0.80, 1 };
	double t = sqrt(escape((x - 0.75) * 2.2, (y - 0.5) * 2.2, -0.79, 0.15, 160));

	return t < 0.5 ? mix(deep, sea, t * 2) : mix(sea, foam, t * 2 - 1);
}

/* The sun sets behind hills. */
static struct colour paint_sunset(double x, double y)
{
	static const struct colour zenith = { 0.14, 0.12, 0.36, 1 },
		horizon = { 0.98, 0.56, 0.28, 1 }, sun = { 1.00, 0.92, 0.62, 1 },
		far = { 0.45, 0.24, 0.38, 1 }, near = { 0.12, 0.08, 0.17, 1 };
	struct colour c = mix(zenith, horizon, pow(y / 0.75, 1.4));

	c = mix(c, sun, 0.5 * exp(-6 * hypot(x - 0.95, y - 0.55)));
	c = mix(c, sun, disc(x, y, 0.95, 0.55, 0.11, 0.008));
	c = mix(c, far, (y - 0.66 - 0.05 * sin(5 * x) - 0.02 * sin(13 * x + 1)) / 0.004);
	return mix(c, near, (y - 0.80 - 0.06 * sin(4 * x + 2) - 0.015 * sin(17 * x)) / 0.004);
}

/* Three discs of coloured glass; nothing around them. */
static struct colour paint_glass(double x, double y)
{
	static const struct colour glasses[] = {
		{ 0.95, 0.20, 0.15, 0 }, { 0.10, 0.85, 0.15, 0 }, { 0.10, 0.20, 0.95, 0 },
	};
	struct colour c = { 0, 0, 0, 0 };

	for (int i = 0; i < 3; i++) {
		double angle = i * 2 * M_PI / 3 - M_PI / 2;
		double cx = 0.5 + 0.18 * cos(angle), cy = 0.53 + 0.18 * sin(angle);
		double alpha = 0.65 * disc(x, y, cx, cy, 0.28, 0.006);
		double sum = alpha + c.alpha * (1 - alpha);

		if (sum > 0)
			c = mix(c, glasses[i], alpha / sum);
		c.alpha = sum;
	}
	return c;
}

/* All hues, from white to black. */
static struct colour paint_hues(double x, double y)
{
	double hue = x / 1.5 * 6;
	struct colour pure = {
		clamp(fabs(hue - 3) - 1), clamp(2 - fabs(hue - 2)), clamp(2 - fabs(hue - 4)), 1,
	};

	return y < 0.5 ? mix(grey(1), pure, y * 2) : mix(pure, grey(0), y * 2 - 1);
}

/* A sphere lit by a star, seen from space; 16 bits show no bands in its shade. */
static struct colour paint_moon(double x, double y)
{
	double dx = (x - 0.5) / 0.4, dy = (y - 0.5) / 0.4, d = dx * dx + dy * dy;

	if (d >= 1)
		return grey(0.03 * exp(-3 * (sqrt(d) - 1)));
	double light = 0.75 * dx - 0.35 * dy + 0.56 * sqrt(1 - d);
	return grey(clamp(light) * (0.75 + 0.25 * plasma(2 * x, 2 * y)) + 0.01);
}

/* A leaf, with a hole punched in it. */
static struct colour paint_leaf(double x, double y)
{
	static const struct colour dark = { 0.10, 0.36, 0.12, 1 }, fresh = { 0.55, 0.75, 0.20, 1 },
		pale = { 0.85, 0.92, 0.55, 1 };
	double u = (x + y - 1) * M_SQRT1_2, v = (y - x) * M_SQRT1_2;	/* along, across */
	double half = 0.26 * sqrt(clamp(1 - u * u / 0.36)) * (1 - 0.5 * u);
	double rib = fabs(v) - 0.004;
	double vein = fabs(fmod(fabs(u - fabs(v) * 0.8 + 2), 0.09) - 0.045);
	struct colour c = mix(dark, fresh, 0.5 + u - v);

	c = mix(c, pale, clamp(1 - rib / 0.006) + 0.5 * clamp(1 - vein / 0.005));
	c.alpha = clamp((half - fabs(v)) / 0.005) * (1 - disc(x, y, 0.58, 0.38, 0.07, 0.004));
	return c;
}

/* A map of heights: flat shades between lines. */
static struct colour paint_map(double x, double y)
{
	static const struct colour shades[] = {
		{ 0.16, 0.33, 0.55, 1 }, { 0.27, 0.50, 0.70, 1 }, { 0.53, 0.73, 0.80, 1 },
		{ 0.93, 0.88, 0.68, 1 }, { 0.62, 0.75, 0.42, 1 }, { 0.45, 0.62, 0.33, 1 },
		{ 0.33, 0.48, 0.27, 1 }, { 0.55, 0.46, 0.33, 1 }, { 0.68, 0.60, 0.50, 1 },
		{ 0.94, 0.94, 0.95, 1 },
	};
	double height = plasma(1.1 * x + 0.1 * sin(9 * y), 1.2 * y + 0.08 * sin(11 * x))
		+ 0.06 * plasma(5 * x, 5 * y);
	double level = clamp(height) * 9.999, above = level - floor(level);

	if (above < 0.03 && level >= 1)
		return mix(shades[(int)level], grey(0.1), 0.6);
	return shades[(int)level];
}

/* Stripes that turn. */
static struct colour paint_ribbon(double x, double y)
{
	static const struct colour coral = { 0.90, 0.30, 0.25, 1 }, navy = { 0.20, 0.25, 0.55, 1 };
	double t = 0.5 + 0.5 * sin(2 * x + 9 * y);

	return mix(coral, navy, t);
}

static struct colour paint_dot(double x, double y)
{
	(void)x;
	(void)y;
	return (struct colour){ 0.95, 0.75, 0.10, 1 };
}

/* --------------------------------------------------------------- the files */

static struct picture {
	const char *name;
	png_uint_32 width, height;
	int type, depth, interlace;
	struct colour (*paint)(double x, double y);
} pictures[] = {
	{ "grey", 480, 360, PNG_COLOR_TYPE_GRAY, 8, PNG_INTERLACE_NONE, paint_ball },
	{ "grey-1-bit", 512, 512, PNG_COLOR_TYPE_GRAY, 1, PNG_INTERLACE_NONE, paint_checker },
	{ "grey-16-bit", 400, 400, PNG_COLOR_TYPE_GRAY, 16, PNG_INTERLACE_NONE, paint_moon },
	{ "grey-alpha", 360, 360, PNG_COLOR_TYPE_GRAY_ALPHA, 8, PNG_INTERLACE_NONE, paint_leaf },
	{ "interlaced", 600, 400, PNG_COLOR_TYPE_RGB, 8, PNG_INTERLACE_ADAM7, paint_julia },
	{ "large", 4000, 3000, PNG_COLOR_TYPE_RGB, 8, PNG_INTERLACE_NONE, paint_map },
	{ "palette", 640, 480, PNG_COLOR_TYPE_PALETTE, 8, PNG_INTERLACE_NONE, paint_mandelbrot },
	{ "palette-4-bit", 320, 320, PNG_COLOR_TYPE_PALETTE, 4, PNG_INTERLACE_ADAM7, paint_plasma },
	{ "rgb", 640, 400, PNG_COLOR_TYPE_RGB, 8, PNG_INTERLACE_NONE, paint_sunset },
	{ "rgb-16-bit", 300, 200, PNG_COLOR_TYPE_RGB, 16, PNG_INTERLACE_NONE, paint_hues },
	{ "rgba", 500, 500, PNG_COLOR_TYPE_RGB_ALPHA, 8, PNG_INTERLACE_NONE, paint_glass },
	{ "rgba-16-bit", 240, 240, PNG_COLOR_TYPE_RGB_ALPHA, 16, PNG_INTERLACE_ADAM7, paint_leaf },
	{ "tall", 24, 900, PNG_COLOR_TYPE_RGB, 8, PNG_INTERLACE_NONE, paint_ribbon },
	{ "tiny", 1, 1, PNG_COLOR_TYPE_RGB, 8, PNG_INTERLACE_NONE, paint_dot },
	{ "broken", 320, 240, PNG_COLOR_TYPE_RGB, 8, PNG_INTERLACE_NONE, paint_sunset },
	{ "broken-header", 320, 240, PNG_COLOR_TYPE_GRAY, 8, PNG_INTERLACE_NONE, paint_plasma },
};

static void give_up(const char *what)
{
	fprintf(stderr, "make_pictures: %s: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

/* From night through fire to light; the first is transparent in 4-bit palettes. */
static void set_palette(png_struct *png, png_info *info, int colours)
{
	static const struct colour night = { 0.04, 0.02, 0.14, 1 }, fire = { 0.86, 0.22, 0.16, 1 },
		light = { 1.00, 0.96, 0.70, 1 };
	png_color palette[PALETTE];

	for (int i = 0; i < colours; i++) {
		double t = (double)i / (colours - 1);
		struct colour c = t < 0.5 ? mix(night, fire, t * 2) : mix(fire, light, t * 2 - 1);

		palette[i] = (png_color){
			.red = (png_byte)lround(c.red * 255),
			.green = (png_byte)lround(c.green * 255),
			.blue = (png_byte)lround(c.blue * 255),
		};
	}
	png_set_PLTE(png, info, palette, colours);
	if (colours < PALETTE)
		png_set_tRNS(png, info, (png_byte[]){ 0 }, 1, NULL);
}

/* Store what a file keeps of @value, most significant byte first; where the next goes. */
static png_byte *put(png_byte *out, double value, int depth)
{
	long v = lround(clamp(value) * ((1 << depth) - 1));

	if (depth == 16)
		*out++ = (png_byte)(v >> 8);
	*out++ = (png_byte)v;		/* fewer than 8 bits: libpng packs them */
	return out;
}

static void paint_row(const struct picture *p, png_uint_32 y, png_byte *out)
{
	for (png_uint_32 x = 0; x < p->width; x++) {
		struct colour c = p->paint((x + 0.5) / p->height, (y + 0.5) / p->height);

		out = put(out, c.red, p->depth);
		if (p->type == PNG_COLOR_TYPE_RGB || p->type == PNG_COLOR_TYPE_RGB_ALPHA) {
			out = put(out, c.green, p->depth);
			out = put(out, c.blue, p->depth);
		}
		if (p->type & PNG_COLOR_MASK_ALPHA)
			out = put(out, c.alpha, p->depth);
	}
}

static void make(const struct picture *p, const char *path)
{
	FILE *file = fopen(path, "wb");
	png_struct *png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
	png_info *info = png_create_info_struct(png);
	png_byte *row = malloc(p->width * sizeof(png_uint_16) * 4);

	if (!file || !row)
		give_up(path);
	png_init_io(png, file);
	png_set_compression_level(png, 9);
	png_set_IHDR(png, info, p->width, p->height, p->depth, p->type, p->interlace,
		     PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
	if (p->type == PNG_COLOR_TYPE_PALETTE)
		set_palette(png, info, 1 << p->depth);
	png_write_info(png, info);
	png_set_packing(png);
	int passes = png_set_interlace_handling(png);
	while (passes--)
		for (png_uint_32 y = 0; y < p->height; y++) {
			paint_row(p, y, row);
			png_write_row(png, row);
		}
	png_write_end(png, info);
	png_destroy_write_struct(&png, &info);
	free(row);
	if (fclose(file) != 0)
		give_up(path);
}

/* Lose the second half of a file, as a broken download does. */
static void halve(const char *path)
{
	FILE *file = fopen(path, "r+b");

	if (!file || fseek(file, 0, SEEK_END) != 0)
		give_up(path);
	if (ftruncate(fileno(file), ftell(file) / 2) != 0 || fclose(file) != 0)
		give_up(path);
}

/* Turn over one bit of a file: the checksum of that chunk is wrong then. */
static void flip(const char *path, long offset)
{
	FILE *file = fopen(path, "r+b");

	if (!file || fseek(file, offset, SEEK_SET) != 0)
		give_up(path);
	int byte = getc(file);
	if (byte == EOF || fseek(file, offset, SEEK_SET) != 0)
		give_up(path);
	if (putc(byte ^ 1, file) == EOF || fclose(file) != 0)
		give_up(path);
}

int main(int argc, char **argv)
{
	enum { IN_WIDTH = 19 };		/* the last byte of the width, in the header */

	if (argc != 2) {
		fputs("usage: make_pictures FOLDER\n", stderr);
		return 2;
	}
	for (size_t i = 0; i < sizeof pictures / sizeof *pictures; i++) {
		char path[PATH_MAX];

		snprintf(path, sizeof path, "%s/%s.png", argv[1], pictures[i].name);
		make(&pictures[i], path);
		if (strcmp(pictures[i].name, "broken") == 0)
			halve(path);
		else if (strcmp(pictures[i].name, "broken-header") == 0)
			flip(path, IN_WIDTH);
	}
	return 0;
}
