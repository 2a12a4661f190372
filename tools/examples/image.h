/*
 * What thumbs does with images: ordinary C functions, which it calls in slaves.
 *
 * Images are far-heap memory, so that one slave reads a file, another scales
 * what it read, a third writes the thumbnail, and no pixel is ever copied from
 * one to the other. Every function that makes an image stores it where @result
 * points, in the far heap too, as soon as there is one: should the slave die on
 * the way, whoever asked can still far_free() it.
 *
 * What fails is raised with far_raise(). libpng is used the simple way, without
 * setjmp(): what libpng dislikes aborts the process, after a line on stderr.
 */
#ifndef IMAGE_H
#define IMAGE_H

#include <stdint.h>

struct image {
	uint32_t width, height;
	uint8_t pixels[];		/* rows of red, green, blue and alpha, 8 bits each */
};

/* Read a PNG file of any kind. */
void image_read(const char *path, struct image **result);

/* Write a PNG file. */
void image_write(const struct image *image, const char *path);

/* Scale @from down to fit a square of @size; a smaller image keeps its size. */
void image_scale(const struct image *from, uint32_t size, struct image **result);

/*
 * Write a PNG file that shows all @count images, none larger than @size, in the
 * cells of a grid. NULL is an image that is missing: its cell is crossed out.
 */
void image_write_sheet(struct image *const *images, uint32_t count, uint32_t size,
		       const char *path);

#endif
