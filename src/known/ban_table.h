/* ban_table.h: who is banned, and until when: a table of known_table.h whose rows are networks, and beside it a count of the clients that were turned away for each.
 *
 * The keeper of bans alone writes rows; fronts, and tarry-ban for the kernel, read them. In a row `since` is the wall clock's second in which the ban began and `passed` the second of the monotonic
 * clock in which it ends, so that no clock that is set makes a ban longer or shorter while the door runs. A ban that is over stays for a while (BAN_OVER): who is banned again is banned for longer.
 * The counts are memory that fronts write as well: a front that lies there gets nothing but wrong numbers.
 * A look-up is one probe for each length of networks that there is: one of each family, as a rule.
 */
#ifndef TARRY_KNOWN_BAN_TABLE_H
#define TARRY_KNOWN_BAN_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/addr.h"
#include "core/buf.h"
#include "known/known_table.h"

#define BAN_REASON 64 /* bytes of a reason with its NUL: printable ASCII */

/* Of a row's note. */
#define BAN_TIMES UINT32_C(0xff)  /* how often it has been banned, this ban included, up to 255 */
#define BAN_OVER UINT32_C(0x100)  /* it is not banned any more */
#define BAN_DOOR UINT32_C(0x200)  /* at the door only: the client came by a load balancer, whose packets these are */
#define BAN_NOTE (BAN_TIMES | BAN_OVER | BAN_DOOR) /* what is kept in a file, and told to other doors */
#define BAN_WORD UINT32_C(0x1f0000) /* the reason, for fronts, who do not see its text: which of the words that the door itself gives, 0: another text */

/* Kept beside the rows, by tarry-ban: for the counters of the door. */
enum ban_count { BAN_COUNT_KERNEL /* that are in the kernel now */, BAN_COUNT_KERNEL_FAILED, BAN_COUNTS };

struct ban_counts {
	_Atomic uint64_t counts[BAN_COUNTS];
	_Atomic uint32_t hits[]; /* by row; the first is hits[1] */
};

struct ban_table {
	struct known_table rows;
	struct ban_counts *counts; /* NULL: nobody counts */
	size_t size;               /* of those */
};

/* Two memory files, for rows and for counts, which cannot be made smaller under those who use them. 0 or -errno. */
int ban_table_create(uint32_t max, int fds[2]);
/* Maps them; the descriptors stay the caller's. counts -1: without. 0 or -errno. */
int ban_table_open(struct ban_table *table, const int fds[2], uint32_t max, bool writer);
/* The counts alone, for one that has the rows. */
int ban_table_open_counts(struct ban_table *table, int fd, uint32_t max);
void ban_table_close(struct ban_table *table);

/* Of a reason the bits of BAN_WORD, and of these the word; "": it is none of them. */
uint32_t ban_reason_note(struct slice reason);
const char *ban_reason_word(uint32_t note);

/* The ban that this client is under: the longest network; its row, or 0. now: seconds of the monotonic clock. */
uint32_t ban_table_find(const struct ban_table *table, const struct addr *client, uint32_t now, struct known_times *out);
/* One more client of it has been turned away. */
void ban_table_hit(const struct ban_table *table, uint32_t row);
uint32_t ban_table_hits(const struct ban_table *table, uint32_t row);
void ban_table_forget_hits(const struct ban_table *table, uint32_t row);
uint64_t ban_table_count(const struct ban_table *table, enum ban_count which);
void ban_table_set_count(const struct ban_table *table, enum ban_count which, uint64_t n);
void ban_table_counted(const struct ban_table *table, enum ban_count which, uint64_t n);

#endif
