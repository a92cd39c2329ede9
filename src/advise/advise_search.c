/* The tour, advise: numerical tools. */
#include <math.h>
#include <string.h>

#include "advise/advise_inside.h"

#define STEPS 250
#define CLOSE 1e-5 /* of a logarithm of a likelihood: far below what a standard error is made of */

static void sort(struct advise_search *s, unsigned n)
{
	for (unsigned i = 1; i <= n; i++)
		for (unsigned j = i; j > 0 && s->f[j] < s->f[j - 1]; j--) {
			double f = s->f[j], p[ADVISE_PARAMETERS];
			memcpy(p, s->p[j], sizeof(p));
			s->f[j] = s->f[j - 1];
			memcpy(s->p[j], s->p[j - 1], sizeof(p));
			s->f[j - 1] = f;
			memcpy(s->p[j - 1], p, sizeof(p));
		}
}

/* From the worst corner through the middle of the others, so far. */
static double look(const struct advise_search *s, unsigned n, double far, double (*function)(void *, const double *), void *context, double *out)
{
	for (unsigned k = 0; k < n; k++) {
		double middle = 0;
		for (unsigned i = 0; i < n; i++)
			middle += s->p[i][k] / n;
		out[k] = middle + far * (middle - s->p[n][k]);
	}
	return function(context, out);
}

static void replace(struct advise_search *s, unsigned n, double f, const double *p)
{
	s->f[n] = f;
	memcpy(s->p[n], p, n * sizeof(*p));
}

static void shrink(struct advise_search *s, unsigned n, double (*function)(void *, const double *), void *context)
{
	for (unsigned i = 1; i <= n; i++) {
		for (unsigned k = 0; k < n; k++)
			s->p[i][k] = (s->p[i][k] + s->p[0][k]) / 2;
		s->f[i] = function(context, s->p[i]);
	}
}

double advise_search(double (*function)(void *context, const double *p), void *context, unsigned n, double *p, double step)
{
	struct advise_search s = { .f = { 0 } };
	for (unsigned i = 0; i <= n; i++) {
		memcpy(s.p[i], p, n * sizeof(*p));
		if (i > 0)
			s.p[i][i - 1] += step * fmax(fabs(p[i - 1]), 1);
		s.f[i] = function(context, s.p[i]);
	}
	for (unsigned round = 0; round < STEPS; round++) {
		double mirrored[ADVISE_PARAMETERS], other[ADVISE_PARAMETERS];
		sort(&s, n);
		if (s.f[n] - s.f[0] < CLOSE)
			break;
		double f = look(&s, n, 1, function, context, mirrored);
		if (f < s.f[0]) {
			double further = look(&s, n, 2, function, context, other);
			replace(&s, n, further < f ? further : f, further < f ? other : mirrored);
		} else if (f < s.f[n - 1]) {
			replace(&s, n, f, mirrored);
		} else {
			double nearer = look(&s, n, f < s.f[n] ? 0.5 : -0.5, function, context, other);
			if (nearer < fmin(f, s.f[n]))
				replace(&s, n, nearer, other);
			else
				shrink(&s, n, function, context);
		}
	}
	sort(&s, n);
	memcpy(p, s.p[0], n * sizeof(*p));
	return s.f[0];
}

double advise_chi_square(double x, double degrees)
{
	double v = 2 / (9 * degrees), z = (cbrt(x / degrees) - (1 - v)) / sqrt(v);
	return 0.5 * erfc(z * M_SQRT1_2);
}
