export { dequantizeInt8, type Int8Values, quantizeInt8 } from "./int8.ts";
export { dequantizeNf4, type Nf4Values, quantizeNf4 } from "./nf4.ts";
export { openQuantizer, type Quantizer } from "./pool.ts";
export { compress, type Quantization } from "./weights.ts";
