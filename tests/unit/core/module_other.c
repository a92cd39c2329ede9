/* A module for test_module.c that was built of other sources. */
extern const char *const module_other;
extern const char module_version[];
const char *const module_other = "other";
const char module_version[] = "0.0.1";
