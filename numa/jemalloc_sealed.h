/* jemalloc_sealed.h: included before each source of the private jemalloc: it may read no settings.
 *
 * jemalloc takes options from an environment variable and from the target of a link in /etc. They
 * are meant for the process's own malloc, not for a copy that nobody knows of. */
#ifndef JEMALLOC_SEALED_H
#define JEMALLOC_SEALED_H

#include <stdlib.h>
#include <unistd.h>

#define getenv(name) ((void)(name), (char *)NULL)
#define secure_getenv(name) ((void)(name), (char *)NULL)
#define readlink(path, buffer, size_bytes) ((void)(path), (void)(buffer), (void)(size_bytes), -1)
#define readlinkat(folder, path, buffer, size_bytes) \
  ((void)(path), (void)(buffer), (void)(size_bytes), -1)

#endif
