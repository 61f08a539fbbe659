/* core/base/stop.c: see stop.h. */
#include "base/stop.h"

#include <stddef.h>

static prn__stop_question the_question;
static void *the_context;

void prn__stop_set(prn__stop_question question, void *context)
{
    the_question = question;
    the_context = context;
}

int prn__stop_asked(void)
{
    return the_question != NULL && the_question(the_context);
}
