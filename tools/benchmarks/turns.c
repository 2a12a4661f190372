/* Contenders take turns: the machine drifts, and the neighbours in time drift with it. */
#include "turns.h"

#include "proc.h"

static double run_batch(struct contender *c, struct samples *chunks)
{
	struct samples batch = { 0 };
	double median;

	if (!c->n)
		c->n = 1;
	for (unsigned i = 0; i < c->chunks; i++) {
		double ns = (double)c->run(c, c->n) / c->n;

		samples_add(&batch, ns);
		if (chunks)
			samples_add(chunks, ns);
	}
	median = samples_median(&batch);
	if (c->chunk_ns)
		c->n = median * 1e6 < c->chunk_ns ? 1000000 : 1 + (unsigned)(c->chunk_ns / median);
	samples_free(&batch);
	if (c->peer)
		idle(c->peer);
	return median;
}

/* Twice: the first batch touches everything, the second one knows how long it takes. */
static void warm_up(struct contender *c)
{
	for (int i = 0; i < 2; i++)
		run_batch(c, NULL);
}

static void run_round(struct figure *figures, size_t count)
{
	struct contender *last = NULL;
	double before = 0;

	for (struct figure *f = figures; f < figures + count; f++) {
		if (f->floor != last)
			before = run_batch(f->floor, NULL);
		double value = run_batch(f->what, &f->chunk);
		double after = run_batch(f->floor, NULL);
		double floor = (before + after) / 2;

		samples_add(&f->value, value);
		samples_add(&f->floor_value, floor);
		samples_add(&f->ratio, value / floor);
		samples_add(&f->excess, value - floor);
		last = f->floor;
		before = after;
	}
}

void take_turns(struct figure *figures, size_t count, unsigned rounds)
{
	for (size_t i = 0; i < count; i++) {
		warm_up(figures[i].floor);
		warm_up(figures[i].what);
	}
	for (unsigned i = 0; i < rounds; i++)
		run_round(figures, count);
}

void figure_free(struct figure *f)
{
	samples_free(&f->value);
	samples_free(&f->floor_value);
	samples_free(&f->ratio);
	samples_free(&f->excess);
	samples_free(&f->chunk);
}
