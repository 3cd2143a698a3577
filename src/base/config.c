/* SPDX-License-Identifier: MIT */
/* config: what all configurations have in common. */

#include "base/config.h"

#include "weir/weir.h"

#include <string.h>

bool
wr_config_adopt(
    void *known, size_t known_size, const void *config, size_t config_size)
{
    memset(known, 0, known_size);
    if (config == NULL)
        return true;
    size_t size = config_size < known_size ? config_size : known_size;
    memcpy(known, config, size);
    const unsigned char *bytes = config;
    for (size_t i = size; i < config_size; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

bool
wr_config_is_name(const char *name)
{
    size_t len = 0;
    while (len < WEIR_NAME_SIZE && name[len] >= ' ' && name[len] <= '~')
        len++;
    return len < WEIR_NAME_SIZE && name[len] == '\0';
}
