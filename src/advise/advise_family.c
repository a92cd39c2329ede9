/* The tour, advise: curves that talk times may follow. Each is cut off at both ends by whoever fits it, so that only the shape of its survival function counts, and a parameter may take
 * values with which it were no distribution of its own (a rate below 0 is a density that rises). */
#include "advise/advise_inside.h"

#include <math.h>

#define FAR 700.0 /* e^-700 is next to the least number there is */

static void start_exponential(const struct advise_sketch *s, double *p)
{
	p[0] = 1 / s->mean;
}

static double exponential(const double *p, double t)
{
	return -p[0] * t;
}

/* Only the ratio of two times matters: the same from wherever it begins, but for 0. */
static void start_pareto(const struct advise_sketch *s, double *p)
{
	double beyond = s->log_mean - log(s->begin);
	p[0] = beyond > 0.01 ? 1 / beyond : 1;
}

static double pareto(const double *p, double t)
{
	return -p[0] * log(t);
}

/* Scale and shape, as logarithms. */
static void start_weibull(const struct advise_sketch *s, double *p)
{
	p[1] = fmin(fmax(log(1.28 / s->log_sd), -1.5), 1.5); /* a logarithm of such times deviates by 1.28 over the shape */
	p[0] = s->log_mean + 0.5772 / exp(p[1]);
}

static double weibull(const double *p, double t)
{
	return t <= 0 ? 0 : -exp(fmin(exp(p[1]) * (log(t) - p[0]), log(FAR)));
}

static void start_lognormal(const struct advise_sketch *s, double *p)
{
	p[0] = s->log_mean;
	p[1] = log(s->log_sd);
}

static double lognormal(const double *p, double t)
{
	double z = t <= 0 ? -FAR : (log(t) - p[0]) * exp(-p[1]);
	return z > 36 ? -FAR : log(0.5 * erfc(z * M_SQRT1_2));
}

/* Scale, shape and tail (Burr's twelfth; with a tail of 1 the log-logistic). */
static void start_burr(const struct advise_sketch *s, double *p)
{
	p[0] = s->log_mean;
	p[1] = fmin(fmax(log(1.6 / s->log_sd), -1.5), 1.5);
	p[2] = 0;
}

static double burr(const double *p, double t)
{
	return t <= 0 ? 0 : -exp(p[2]) * log1p(exp(fmin(exp(p[1]) * (log(t) - p[0]), FAR)));
}

/* Two kinds of clients: the first kind's part (its logit), and what each kind does. */
static double both(double logit, double first, double second)
{
	double part = 1 / (1 + exp(-logit));
	return log(fmax(part * exp(first) + (1 - part) * exp(second), 1e-300));
}

static double logit(double part)
{
	return log(part / (1 - part));
}

static void start_two_exponentials(const struct advise_sketch *s, double *p)
{
	p[0] = logit(s->weight);
	p[1] = s->log_means[0] + 0.5;
	p[2] = s->log_means[1] + 0.3;
}

static double two_exponentials(const double *p, double t)
{
	return both(p[0], -t * exp(-p[1]), -t * exp(-p[2]));
}

static void start_exponential_lognormal(const struct advise_sketch *s, double *p)
{
	p[0] = logit(s->weight);
	p[1] = s->log_means[0] + 0.5;
	p[2] = s->log_means[1];
	p[3] = log(s->log_sds[1]);
}

static double exponential_lognormal(const double *p, double t)
{
	return both(p[0], -t * exp(-p[1]), lognormal(p + 2, t));
}

static void start_two_lognormals(const struct advise_sketch *s, double *p)
{
	p[0] = logit(s->weight);
	for (int i = 0; i < 2; i++) {
		p[1 + 2 * i] = s->log_means[i];
		p[2 + 2 * i] = log(s->log_sds[i]);
	}
}

static double two_lognormals(const double *p, double t)
{
	return both(p[0], lognormal(p + 1, t), lognormal(p + 3, t));
}

const struct advise_family advise_families[ADVISE_FAMILIES] = {
	{ "exponential", 1, true, false, start_exponential, exponential },
	{ "Pareto", 1, false, false, start_pareto, pareto },
	{ "Weibull", 2, true, false, start_weibull, weibull },
	{ "lognormal", 2, true, false, start_lognormal, lognormal },
	{ "Burr", 3, true, false, start_burr, burr },
	{ "two exponentials", 3, true, true, start_two_exponentials, two_exponentials },
	{ "exponential and lognormal", 4, true, true, start_exponential_lognormal, exponential_lognormal },
	{ "two lognormals", 5, true, true, start_two_lognormals, two_lognormals },
};
