/* perennial/perennial.h: the whole SDK. */
#ifndef PERENNIAL_PERENNIAL_H
#define PERENNIAL_PERENNIAL_H

#include <perennial/backend.h>
#include <perennial/strategy.h>

#endif
