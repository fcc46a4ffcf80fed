import type { ConvolutionAttributes } from "./convolution.ts";
import type { CustomAttributes } from "./custom.ts";
import type { ElementwiseAttributes } from "./elementwise.ts";
import type { IndexingAttributes } from "./indexing.ts";
import type { LeafAttributes } from "./leaf.ts";
import type { LogicAttributes } from "./logic.ts";
import type { MatmulAttributes } from "./matmul.ts";
import type { NeuralAttributes } from "./neural.ts";
import type { RandomBitsAttributes } from "./noise.ts";
import type { QuantizedAttributes } from "./quantized.ts";
import type { ReduceAttributes } from "./reduce.ts";
import type { ShapingAttributes } from "./shaping.ts";
import type { UnaryAttributes } from "./unary.ts";

/** Attributes of all operators; executors' lowering tables are typed by this map. */
export interface Attributes
  extends LeafAttributes,
    ElementwiseAttributes,
    UnaryAttributes,
    LogicAttributes,
    ReduceAttributes,
    ShapingAttributes,
    MatmulAttributes,
    QuantizedAttributes,
    ConvolutionAttributes,
    IndexingAttributes,
    NeuralAttributes,
    RandomBitsAttributes,
    CustomAttributes {}

/** Attributes of operators without any. */
export type None = Record<never, never>;
