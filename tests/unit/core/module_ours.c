/* A module for test_module.c. */
extern const char *const module_ours;
const char *const module_ours = "ours";
