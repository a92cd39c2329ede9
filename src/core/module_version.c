/* In every module, and in nothing else: by which the program that loads it knows that both were built of the same sources (module.c). */
extern const char module_version[];
const char module_version[] = TARRY_VERSION;
