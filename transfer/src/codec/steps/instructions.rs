//! A macro for loops that are compiled for several instruction sets.

/// Defines a function that is compiled for several instruction sets, of which the best available one is taken at run
/// time. All of them give the same bits: each value is treated by itself, by operations that IEEE 754 defines.
macro_rules! by_instructions {
    ($(#[$doc:meta])* $visibility:vis fn $name:ident($($argument:ident: $type:ty),*) $body:block) => {
        $(#[$doc])*
        $visibility fn $name($($argument: $type),*) {
            #[inline(always)]
            fn any($($argument: $type),*) $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
                fn avx512($($argument: $type),*) { any($($argument),*) }
                #[target_feature(enable = "avx2,fma,f16c")]
                fn avx2($($argument: $type),*) { any($($argument),*) }
                let has_avx512 = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl") && is_x86_feature_detected!("avx512dq");
                if has_avx512 {
                    // SAFETY: the processor has all features of `avx512`, as just checked.
                    return unsafe { avx512($($argument),*) };
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c") {
                    // SAFETY: the processor has all features of `avx2`, as just checked.
                    return unsafe { avx2($($argument),*) };
                }
            }
            any($($argument),*)
        }
    };
}

pub(super) use by_instructions;
