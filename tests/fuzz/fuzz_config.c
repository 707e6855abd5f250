/* Any bytes as a YAML config: what is accepted must write and read back to the same. */
#include "fuzz.h"

#include "../../experiments/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static config c, again;
    char *text = NULL, *second = NULL;
    size_t length = 0, second_length = 0;
    tn_on_error(NULL, NULL);
    config_defaults(&c);
    const bool good = config_read(&c, "fuzz", (const char *)data, size);
    fuzz_check(good == tn_ok());
    tn_error_clear();
    if (!good)
        return 0;
    FILE *out = open_memstream(&text, &length);
    config_print(&c, out);
    fclose(out);
    config_defaults(&again);
    fuzz_check(config_read(&again, "again", text, length));
    out = open_memstream(&second, &second_length);
    config_print(&again, out);
    fclose(out);
    fuzz_check(length == second_length && memcmp(text, second, length) == 0);
    free(text);
    free(second);
    return 0;
}
