/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a whole open(2) and close(2) cost: opens PATH, nanoseconds each, the median of many batches. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define BATCHES 101
#define OPENS 100

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

int main(int count, char **arguments)
{
	double each[BATCHES];

	if (count != 2)
		return 2;
	for (int batch = 0; batch < BATCHES; batch++) {
		double begun = now();

		for (int i = 0; i < OPENS; i++) {
			int at = open(arguments[1], O_RDONLY);

			if (at < 0)
				return 1;
			close(at);
		}
		each[batch] = (now() - begun) / OPENS;
	}
	qsort(each, BATCHES, sizeof(*each), compare);
	printf("%.0f\n", each[BATCHES / 2]);
	return 0;
}
