/**
 * `anneal/widgets`: sliders, buttons and boxes under a cell, and the comms that connect them with the page.
 *
 * @packageDocumentation
 */
export {
  Button,
  Checkbox,
  type Comm,
  type CommMessage,
  type Comms,
  Dropdown,
  FloatProgress,
  FloatSlider,
  HBox,
  HTML,
  IntProgress,
  IntSlider,
  type ProgressOptions,
  type RangeOptions,
  Text,
  type ValueOptions,
  VBox,
  Widget,
} from "../display/index.ts";
