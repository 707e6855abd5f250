/* Tenon: deep learning in C.  This is the one header a program includes; each
 * of the headers below is the manual page of its part, in reading order. */
#ifndef TENON_H
#define TENON_H

#include "tenon/error.h"    /* the first error sticks, NULL flows                  */
#include "tenon/scope.h"    /* who owns what; devices, threads, memory, random     */
#include "tenon/tensor.h"   /* tensors: making, looking, viewing                   */
#include "tenon/ops.h"      /* mathematics on tensors                              */
#include "tenon/autograd.h" /* gradients                                           */
#include "tenon/record.h"   /* steps that are replayed on a GPU                    */
#include "tenon/module.h"   /* networks: parameters with names, files              */
#include "tenon/nn.h"       /* layers                                              */
#include "tenon/optim.h"    /* optimizers, groups, clipping, schedules             */
#include "tenon/data.h"     /* data sets and loaders                               */
#include "tenon/text.h"     /* tokens, subwords, dictionaries, translation data    */
#include "tenon/model.h"    /* ready-made networks                                 */

#endif
