/* Non-breaking prefixes; see prefixes.h.  A list is one text, each word between two spaces: words that end in a
 * full stop inside a sentence are few, and a list is read through in no time. */
#include "prefixes.h"

#include <stdio.h>
#include <string.h>

struct tn__prefixes {
    const char *lang;
    bool small_letters; /* a. and not only A. */
    bool ordinals;      /* 1. to 99. */
    const char *words, *before_numbers;
};

#define TITLES                                                                                                \
    " Adj Adm Adv Asst Bart Bldg Brig Bros Capt Cmdr Col Comdr Con Corp Cpl DR Dr Ens Gen Gov Hon Hosp Insp " \
    "Lt MM MR MRS MS Maj Messrs Mlle Mme Mr Mrs Ms Msgr Nos Nr Op Ord Pfc Ph Prof Pvt Rep Reps Res Rev Rt "   \
    "Sen Sens Sfc Sgt Sr St Supt Surg vs "

static const tn__prefixes all[] = {
    {"de", true, true,
     TITLES "II III IV VI VII VIII IX XI XII XIII XIV XV XVI XVII XVIII XIX XX "
            "ii iii iv vi vii viii ix xi xii xiii xiv xv xvi xvii xviii xix xx "
            "Art BSE Buchst Ca Chr Co Dkr Ltd Mio Mrd MwSt No SA Std Zt bzgl bzw ca dergl dgl etc evtl ff ggf jun "
            "pp sen sog sogen spp usf usw vgl zzt ", ""},
    {"en", false, false, TITLES "Apr Aug Dec Drs Feb Hr Jan Jul Jun Mar Nov Oct Rs Sep rev v ", " Art No pp "},
};

const tn__prefixes *tn__prefixes_of(const char *lang)
{
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(all[i].lang, lang) == 0)
            return &all[i];
    return NULL;
}

static bool is_letter(char c, bool small)
{
    return (c >= 'A' && c <= 'Z') || (small && c >= 'a' && c <= 'z');
}

/* 1 to 99, without a zero in front. */
static bool is_ordinal(const char *word)
{
    const size_t n = strspn(word, "0123456789");
    return !word[n] && word[0] != '0' && (n == 1 || n == 2);
}

tn__stop tn__prefix(const tn__prefixes *p, const char *word)
{
    char key[TN__LONGEST_PREFIX + 3];
    const int n = p ? snprintf(key, sizeof key, " %s ", word) : 0;
    if (n <= 2 || n >= (int)sizeof key)
        return TN__STOP_SPLITS;
    if ((n == 3 && is_letter(word[0], p->small_letters)) || (p->ordinals && is_ordinal(word)) ||
        strstr(p->words, key))
        return TN__STOP_STAYS;
    return strstr(p->before_numbers, key) ? TN__STOP_STAYS_BEFORE_NUMBERS : TN__STOP_SPLITS;
}
