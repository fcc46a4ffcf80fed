/**
 * Widgets: values that the person at the notebook changes with the mouse and that code sees change. They speak the
 * protocol of ipywidgets 8, so every front-end that shows its widgets shows these.
 * (https://github.com/jupyter-widgets/ipywidgets/blob/main/packages/schema/messages.md)
 */
import { randomUUID } from "node:crypto";
import { type Comm, type CommMessage, type MimeBundle, notebook } from "./notebook.ts";

type State = Record<string, unknown>;

const base = { module: "@jupyter-widgets/base", version: "2.0.0" };
const controls = { module: "@jupyter-widgets/controls", version: "2.0.0" };
const protocolVersion = "2.1.0";
/** How Jupyter names a widget in another one's state. */
const reference = (id: string) => `IPY_MODEL_${id}`;

/** Models that a front-end may ask for: after a reload it knows none. */
const live = new Map<string, Model>();

/** One model: the state that code and front-end share. */
class Model {
  readonly id = notebook()?.newId?.() ?? randomUUID().replaceAll("-", "");
  readonly state: State;
  readonly #comm: Comm | undefined;

  constructor(state: State, changed: (update: State) => void = () => {}, custom: (content: State) => void = () => {}) {
    this.state = state;
    const comms = notebook()?.comms;
    if (!comms) return;
    comms.onOpen("jupyter.widget.control", answerControl);
    this.#comm = comms.open(
      "jupyter.widget",
      { state, buffer_paths: [] },
      { id: this.id, metadata: { version: protocolVersion } },
    );
    live.set(this.id, this);
    this.#comm.onClose(() => live.delete(this.id));
    this.#comm.onMessage(({ data }: CommMessage) => {
      if (data.method === "update") {
        const update = data.state as State;
        Object.assign(this.state, update);
        changed(update);
      } else if (data.method === "request_state") {
        this.#comm?.send({ method: "update", state: this.state, buffer_paths: [] });
      } else if (data.method === "custom") custom(data.content as State);
    });
  }

  set(update: State): void {
    Object.assign(this.state, update);
    if (this.#comm && !this.#comm.closed) this.#comm.send({ method: "update", state: update, buffer_paths: [] });
  }

  close(): void {
    live.delete(this.id);
    this.#comm?.close();
  }
}

/** A page that was loaded again asks for all models at once. */
function answerControl(comm: Comm): void {
  comm.onMessage(({ data }) => {
    if (data.method !== "request_states") return;
    const states = Object.fromEntries(
      [...live.values()].map(({ id, state }) => [
        id,
        {
          model_name: state._model_name,
          model_module: state._model_module,
          model_module_version: state._model_module_version,
          state,
        },
      ]),
    );
    comm.send({ method: "update_states", states, buffer_paths: [] });
  });
}

function modelState(from: typeof base, name: string, view: string | null): State {
  return {
    _model_module: from.module,
    _model_module_version: from.version,
    _model_name: name,
    _view_module: from.module,
    _view_module_version: from.version,
    _view_name: view,
    _view_count: null,
  };
}

/** A widget: the last value of a cell, or an argument of `display`, shows it. */
export abstract class Widget {
  readonly #layout: Model;
  readonly #style: Model | undefined;
  readonly #model: Model;

  /**
   * @param kind such as `IntSlider`: the model is then `IntSliderModel`, the view `IntSliderView`
   * @param state what that model has beside what all have
   * @param layout CSS of the widget's box, such as `{ width: "50%" }`
   */
  protected constructor(
    kind: string,
    state: State,
    { layout = {}, style }: { layout?: Record<string, string> | undefined; style?: string } = {},
  ) {
    this.#layout = new Model({ ...modelState(base, "LayoutModel", "LayoutView"), ...layout });
    this.#style =
      style === undefined
        ? undefined
        : new Model({
            ...modelState(controls, `${style}Model`, "StyleView"),
            _view_module: base.module,
            _view_module_version: base.version,
          });
    this.#model = new Model(
      {
        ...modelState(controls, `${kind}Model`, `${kind}View`),
        _dom_classes: [],
        layout: reference(this.#layout.id),
        ...(this.#style ? { style: reference(this.#style.id) } : {}),
        tabbable: null,
        tooltip: null,
        ...state,
      },
      (update) => this.changed(update),
      (content) => this.custom(content),
    );
  }

  /** How widgets that hold this one name it. */
  get modelId(): string {
    return this.#model.id;
  }

  protected get(name: string): unknown {
    return this.#model.state[name];
  }

  protected set(update: State): void {
    this.#model.set(update);
  }

  /** Called with what the person at the notebook changed. */
  protected changed(_update: State): void {}

  /** Called with what the front-end tells beside changes, such as a click. */
  protected custom(_content: State): void {}

  /** Takes the widget off every page. */
  close(): void {
    for (const model of [this.#model, this.#style, this.#layout]) model?.close();
  }

  toString(): string {
    const value = this.get("value");
    return `${this.constructor.name}(${value === undefined ? "" : `value=${JSON.stringify(value)}`})`;
  }

  [Symbol.for("Jupyter.display")](): MimeBundle {
    const view = { version_major: 2, version_minor: 0, model_id: this.modelId };
    return { "application/vnd.jupyter.widget-view+json": view, "text/plain": this.toString() };
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return this.toString();
  }
}

/** What every widget with a value takes. */
export interface ValueOptions<T> {
  value?: T;
  /** A label on its left. */
  description?: string;
  disabled?: boolean;
  /** CSS of the widget's box, such as `{ width: "50%" }`. */
  layout?: Record<string, string>;
}

/** A widget with a value. */
abstract class ValueWidget<T> extends Widget {
  readonly #observers = new Set<(value: T, before: T) => void>();
  #last: T;

  protected constructor(kind: string, value: T, options: ValueOptions<T>, state: State, style = "DescriptionStyle") {
    super(
      kind,
      {
        description: options.description ?? "",
        description_allow_html: false,
        disabled: options.disabled ?? false,
        ...state,
        value,
      },
      { layout: options.layout, style },
    );
    this.#last = value;
  }

  get value(): T {
    return this.get("value") as T;
  }

  /** Setting it moves the widget on every page, and calls the observers. */
  set value(value: T) {
    this.set({ value });
    this.#tell();
  }

  /** Calls a function with each new value, and the one before. Returns a function that ends it. */
  observe(observer: (value: T, before: T) => void): () => void {
    this.#observers.add(observer);
    return () => this.#observers.delete(observer);
  }

  protected override changed(): void {
    this.#tell();
  }

  #tell(): void {
    const [before, now] = [this.#last, this.value];
    if (Object.is(before, now)) return;
    this.#last = now;
    for (const observer of [...this.#observers]) observer(now, before);
  }
}

/** Options of sliders and progress bars; all numbers are of the value's own unit. */
export interface RangeOptions extends ValueOptions<number> {
  min?: number;
  max?: number;
  step?: number;
  orientation?: "horizontal" | "vertical";
}

/** @throws RangeError when the value lies outside of its bounds */
function range(kind: string, options: RangeOptions, fallback: { max: number; step: number }) {
  const { min = 0, max = fallback.max, step = fallback.step, orientation = "horizontal" } = options;
  const value = options.value ?? min;
  if (!(min <= value && value <= max)) {
    throw new RangeError(`${kind}: value is ${value}, expected ${min} to ${max} (min and max say so)`);
  }
  return { value, state: { min, max, step, orientation } };
}

const slider = { readout: true, continuous_update: true, behavior: "drag-tap" };

/** A slider over whole numbers; 0 to 100 where nothing else is said. */
export class IntSlider extends ValueWidget<number> {
  constructor(options: RangeOptions = {}) {
    const { value, state } = range("IntSlider", options, { max: 100, step: 1 });
    super("IntSlider", value, options, { ...state, ...slider, readout_format: "d" }, "SliderStyle");
  }
}

/** A slider over numbers; 0 to 1 where nothing else is said. */
export class FloatSlider extends ValueWidget<number> {
  constructor(options: RangeOptions = {}) {
    const { value, state } = range("FloatSlider", options, { max: 1, step: 0.01 });
    super("FloatSlider", value, options, { ...state, ...slider, readout_format: ".2f" }, "SliderStyle");
  }
}

/** Options of a progress bar. */
export interface ProgressOptions extends RangeOptions {
  /** Its colour. */
  style?: "" | "info" | "success" | "warning" | "danger";
}

function progress(kind: string, options: ProgressOptions, max: number) {
  const { value, state } = range(kind, options, { max, step: 1 });
  const { step, ...rest } = state;
  return { value, state: { ...rest, bar_style: options.style ?? "", _view_name: "ProgressView" } };
}

/** A progress bar in whole steps; 0 to 100 where nothing else is said. */
export class IntProgress extends ValueWidget<number> {
  constructor(options: ProgressOptions = {}) {
    const { value, state } = progress("IntProgress", options, 100);
    super("IntProgress", value, options, state, "ProgressStyle");
  }
}

/** A progress bar; 0 to 1 where nothing else is said. */
export class FloatProgress extends ValueWidget<number> {
  constructor(options: ProgressOptions = {}) {
    const { value, state } = progress("FloatProgress", options, 1);
    super("FloatProgress", value, options, state, "ProgressStyle");
  }
}

/** A box to tick. */
export class Checkbox extends ValueWidget<boolean> {
  constructor(options: ValueOptions<boolean> = {}) {
    super("Checkbox", options.value ?? false, options, { indent: true }, "CheckboxStyle");
  }
}

/** A line of text. */
export class Text extends ValueWidget<string> {
  constructor(options: ValueOptions<string> & { placeholder?: string } = {}) {
    const { placeholder = "" } = options;
    super("Text", options.value ?? "", options, { placeholder, continuous_update: true }, "TextStyle");
  }
}

/** HTML that code may change. */
export class HTML extends ValueWidget<string> {
  constructor(options: ValueOptions<string> = {}) {
    super("HTML", options.value ?? "", options, { placeholder: "" }, "HTMLStyle");
  }
}

/** A choice among texts. */
export class Dropdown extends Widget {
  readonly options: readonly string[];
  readonly #observers = new Set<(value: string) => void>();

  /** @throws RangeError when the value is none of the options */
  constructor(options: ValueOptions<string> & { options: readonly string[] }) {
    const index = options.value === undefined ? 0 : options.options.indexOf(options.value);
    if (index < 0 || options.options.length === 0) {
      throw new RangeError(`Dropdown: value is ${options.value}, expected one of ${options.options.join(", ")}`);
    }
    const { description = "", disabled = false, layout } = options;
    const state = {
      _options_labels: [...options.options],
      index,
      description,
      disabled,
      description_allow_html: false,
    };
    super("Dropdown", state, { layout, style: "DescriptionStyle" });
    this.options = [...options.options];
  }

  get value(): string {
    return this.options[Number(this.get("index"))];
  }

  set value(value: string) {
    const index = this.options.indexOf(value);
    if (index < 0) throw new RangeError(`Dropdown: ${value} is none of ${this.options.join(", ")}`);
    this.set({ index });
    this.changed({ index });
  }

  /** Calls a function with each new value. Returns a function that ends it. */
  observe(observer: (value: string) => void): () => void {
    this.#observers.add(observer);
    return () => this.#observers.delete(observer);
  }

  protected override changed(update: State): void {
    if ("index" in update) for (const observer of [...this.#observers]) observer(this.value);
  }
}

/** A button. */
export class Button extends Widget {
  readonly #observers = new Set<() => void>();

  constructor(options: Omit<ValueOptions<never>, "value"> & { style?: ProgressOptions["style"] | "primary" } = {}) {
    const { description = "", disabled = false, layout, style = "" } = options;
    super("Button", { description, disabled, button_style: style, icon: "" }, { layout, style: "ButtonStyle" });
  }

  /** Calls a function at each click. Returns a function that ends it. */
  onClick(observer: () => void): () => void {
    this.#observers.add(observer);
    return () => this.#observers.delete(observer);
  }

  protected override custom({ event }: State): void {
    if (event === "click") for (const observer of [...this.#observers]) observer();
  }
}

/** Widgets side by side. */
export class HBox extends Widget {
  constructor(children: readonly Widget[], options: { layout?: Record<string, string> } = {}) {
    super("HBox", { children: children.map(({ modelId }) => reference(modelId)), box_style: "" }, options);
  }
}

/** Widgets below each other. */
export class VBox extends Widget {
  constructor(children: readonly Widget[], options: { layout?: Record<string, string> } = {}) {
    super("VBox", { children: children.map(({ modelId }) => reference(modelId)), box_style: "" }, options);
  }
}
