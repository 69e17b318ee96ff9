/* SPDX-License-Identifier: BSD-3-Clause */
/* What the nets' programs have in common. */
#ifndef TESTS_SIM_NET_MAIN_H
#define TESTS_SIM_NET_MAIN_H

#include <stdbool.h>
#include <stdint.h>

/* --name NUMBER among the arguments. */
bool main_number(int argc, char **argv, const char *name, uint64_t *ret_number);
/* Under the thread sanitizer there is nothing to see: one thread. Says so; exit 77. */
bool main_skips(void);
double main_seconds(void); /* of the world outside */
/* An assertion of the library ends the process: then it is said what was being run. */
void main_about_to(const char *what, uint64_t number);

#endif
