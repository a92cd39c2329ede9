/* folder.h: a temporary folder for the tests of src/mail, and what lies in it. Every function fails the test rather than return an error. */
#ifndef TARRY_TESTS_FOLDER_H
#define TARRY_TESTS_FOLDER_H

#include <stddef.h>

#define FOLDER_PATH 512

/* A new one; where it is goes to path. */
void folder_make(char path[FOLDER_PATH]);
/* The same in memory, if this machine has /dev/shm: for tests of which the disk is not the point. */
void folder_make_quick(char path[FOLDER_PATH]);
/* Away with it and all that is in it. */
void folder_remove(const char *path);
/* How many files, symbolic links included, lie in path/sub (0 when that is not there); the name of one of them goes to name unless that is NULL. */
unsigned folder_count(const char *path, const char *sub, char name[256]);
/* How many files lie anywhere below path. */
unsigned folder_count_all(const char *path);
/* The bytes of the only file in path/sub, NUL-terminated; to be freed. */
char *folder_read_only(const char *path, const char *sub, size_t *len);

#endif
