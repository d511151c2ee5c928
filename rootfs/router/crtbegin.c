/* What C needs of a compiler's start files where the C library runs init arrays: a handle of the object that it is linked into. */
extern void *__dso_handle __attribute__((visibility("hidden")));
void *__dso_handle = &__dso_handle;
