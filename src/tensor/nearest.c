/* Which known word an unknown one was probably meant to be: the least number of letters inserted, left out,
 * changed or swapped (optimal string alignment).  Used by every registry and by configs. */
#include <string.h>

#include "internal.h"

enum { LETTERS = 63 }; /* what follows is not compared */

static int least(int a, int b) { return a < b ? a : b; }

static int distance(const char *a, const char *b)
{
    const int n = (int)strnlen(a, LETTERS), m = (int)strnlen(b, LETTERS);
    int row[3][LETTERS + 1]; /* rows i, i-1 and i-2, turning */
    for (int i = 0; i <= n; i++) {
        int *now = row[i % 3], *last = row[(i + 2) % 3], *before = row[(i + 1) % 3];
        now[0] = i;
        for (int j = 1; j <= m; j++) {
            if (i == 0) {
                now[j] = j;
                continue;
            }
            now[j] = least(least(last[j], now[j - 1]) + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = least(now[j], before[j - 2] + 1);
        }
    }
    return row[n % 3][m];
}

const char *tn_nearest(const char *word, const char *const *known, int n)
{
    const char *best = NULL;
    int fewest = 0;
    for (int i = 0; word && i < n; i++) {
        const int d = distance(word, known[i]);
        if (!best || d < fewest) {
            best = known[i];
            fewest = d;
        }
    }
    return best;
}
