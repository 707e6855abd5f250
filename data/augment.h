/* The random choices of a loader, from (seed, epoch, index) alone, and what they do to an image. */
#ifndef TN_DATA_AUGMENT_H
#define TN_DATA_AUGMENT_H

#include <tenon.h>

/* A random order of 0 .. n-1, every one as likely (Fisher and Yates). */
void tn__shuffle(uint64_t seed, int64_t epoch, int64_t *order, int64_t n);

/* What sample i meets in that epoch: the crop begins at row y, column x of the padded image. */
typedef struct tn__crop {
    int y, x;
    bool flip;
} tn__crop;
tn__crop tn__choose_crop(uint64_t seed, int64_t epoch, int64_t i, tn_augment how);

/* What each byte of each channel of an image set becomes, as torchvision computes it, in float. */
void tn__fill_table(const tn_dataset *d, float table[4][256]);

/* image [h,w,c] bytes, zero-padded by `pad`, cropped to out [h,w,c], each byte through
 * table[channel]. */
void tn__crop_image(const uint8_t *image, int h, int w, int c, int pad, tn__crop crop,
                    const float table[4][256], float *out);

#endif
