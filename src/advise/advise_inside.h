/* advise_inside.h: between the files of src/advise. Seconds here. */
#ifndef TARRY_ADVISE_INSIDE_H
#define TARRY_ADVISE_INSIDE_H

#include "advise/advise.h"

#define ADVISE_PARAMETERS 5 /* of a curve at most */
#define ADVISE_Z95 1.959964 /* of the normal distribution, two-sided 95 % */
#define ADVISE_Z99 2.575829

/* ---- advise_table.c: what was counted ---- */

/* Fills the work from the data. False: the data is malformed. */
bool advise_table(const struct advise_data *data, struct advise_work *work);
/* Of all clients, the part that talks before `at`. */
double advise_table_mass(const struct advise_work *work, double at);
/* The share that a pause catches, of those who would talk within the table, with bounds of z standard errors. */
struct advise_share advise_table_share(const struct advise_work *work, double at, double z);
/* When that share has talked; and the bounds of it. */
double advise_table_quantile(const struct advise_work *work, double share);
void advise_table_bounds(const struct advise_work *work, double share, double z, double *low, double *high);
/* Where a running sum over masses reaches so much, in the bins from `from` on. */
double advise_table_reach(const struct advise_work *work, const double *mass, size_t from, double much);

/* ---- advise_family.c: curves ---- */

/* What is known of the times that a curve shall describe, to begin with. */
struct advise_sketch {
	double begin;               /* it describes times from here on */
	double mean;                /* of what is beyond begin */
	double log_mean, log_sd;    /* of the times' logarithms */
	double split;               /* where these fall into two heaps, */
	double weight;              /* of which the first has this part; */
	double log_means[2], log_sds[2]; /* of each */
};

struct advise_family {
	const char *name;
	unsigned parameters;
	bool from_zero; /* it can begin at 0; else where the first talker is, which is one more parameter */
	bool whole;     /* made for all talkers: not tried for a tail */
	void (*start)(const struct advise_sketch *sketch, double *p);
	/* The logarithm of the part that has not talked by t, but for a constant. */
	double (*log_survival)(const double *p, double t);
};

#define ADVISE_FAMILIES 8
extern const struct advise_family advise_families[ADVISE_FAMILIES];

/* ---- advise_fit.c ---- */

struct advise_fit {
	const struct advise_family *family;
	size_t from;        /* the first bin it describes */
	double p[ADVISE_PARAMETERS];
	double likelihood;  /* logarithm */
	double bic;
	double misfit;      /* the probability of as bad a fit by chance */
	double talkers;     /* that it describes */
	double quantile, se; /* logarithm of the time when the share has talked, and its standard error */
};

/* The best curve from that bin on, and how far off the share's time is by it. False: none is of use. */
bool advise_fit(struct advise_work *work, const struct advise_family *family, size_t from, double share, struct advise_fit *fit);

/* ---- advise_search.c ---- */

struct advise_search {
	double f[ADVISE_PARAMETERS + 1];
	double p[ADVISE_PARAMETERS + 1][ADVISE_PARAMETERS];
};

/* Where the function is least, near p, which is moved there; its value. Nelder and Mead, "A simplex method for function minimization", The Computer Journal 7 (1965). */
double advise_search(double (*function)(void *context, const double *p), void *context, unsigned n, double *p, double step);
/* Upper tail of the chi-square distribution (Wilson and Hilferty 1931). */
double advise_chi_square(double x, double degrees);

#endif
