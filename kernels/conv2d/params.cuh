// The geometry of a convolution, as its kernels take it.
#pragma once

struct Conv2dParams {
    u32 batch;
    u32 in_channels;
    u32 height;
    u32 width;
    u32 out_channels;
    u32 out_height;
    u32 out_width;
    u32 groups;
    u32 kernel_height;
    u32 kernel_width;
    u32 stride_height;
    u32 stride_width;
    u32 pad_top;
    u32 pad_left;
};

// A convolution of all channels, which may be the gradient of one with stride 1 with respect to its image: output pixel
// (i, j) meets tap (r, s) at (i stride_height + top + r, j stride_width + left + s) of x.
struct Conv2dTapsParams {
    u32 batch;
    u32 channels;     // of x
    u32 height;       // of x
    u32 width;
    u32 outs;         // channels of y
    u32 rows;         // of y
    u32 columns;
    u32 kernel_height;
    u32 kernel_width;
    u32 stride_height;
    u32 stride_width;
    i32 top;
    i32 left;
    u32 weight_out;   // elements between the weights of two channels of y
    u32 weight_in;    // and of x
    u32 flipped;      // 1: the last tap in memory is (0, 0)
    u32 relu;         // 1: negative results become zero
    u32 parts;        // of the statistics of each channel, over all launches
    u32 first_part;   // of this launch
};

struct Conv2dFusedParams {
    Conv2dParams conv;
    u32 relu;  // 1: negative results become zero
};
