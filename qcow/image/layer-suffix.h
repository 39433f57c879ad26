/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The ".N" in the name of a parameter for layer N, such as backing.2=, for
 * messages.  Private to qcow/.
 */

#ifndef QCOW_IMAGE_LAYER_SUFFIX_H
#define QCOW_IMAGE_LAYER_SUFFIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct layer_suffix {
  char text[12];
};

/* ".N", or "" if the user does not number the values of this parameter. */
static inline struct layer_suffix
layer_suffix (size_t layer, bool numbered)
{
  struct layer_suffix suffix = { "" };

  if (numbered)
    snprintf (suffix.text, sizeof suffix.text, ".%u", (unsigned) layer);
  return suffix;
}

/* The suffix that the user needs to give a value for the layer, which would
 * be at 'place', from 1, if the 'nr' values that there are have no numbers.
 * Without numbers, a value can replace one or follow the last one.
 */
static inline struct layer_suffix
layer_suffix_needed (size_t layer, size_t place, size_t nr, bool numbered)
{
  return layer_suffix (layer, numbered || place > nr + 1);
}

#endif /* QCOW_IMAGE_LAYER_SUFFIX_H */
