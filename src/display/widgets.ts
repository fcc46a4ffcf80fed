/**
 * Widgets: interactive controls whose values are shared between a notebook page and code. They implement the protocol of
 * ipywidgets 8, so that every front-end with ipywidgets support shows them.
 * (https://github.com/jupyter-widgets/ipywidgets/blob/main/packages/schema/messages.md)
 */
import { randomUUID } from "node:crypto";
import { type Comm, type CommMessage, type MimeBundle, notebook } from "./notebook.ts";

type State = Record<string, unknown>;

const base = { module: "@jupyter-widgets/base", version: "2.0.0" };
const controls = { module: "@jupyter-widgets/controls", version: "2.0.0" };
const protocolVersion = "2.1.0";
/** Returns Jupyter's reference to a widget, for the state of another. */
const reference = (id: string) => `IPY_MODEL_${id}`;

/** All open models, which a front-end requests after a reload. */
const live = new Map<string, Model>();

/** A model: the state that code and front-end share. */
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

/** Responds to a reloaded page, which requests all models at once. */
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

/** Base class of widgets. A widget is shown as the last value of a cell, or by `display`. */
export abstract class Widget {
  readonly #layout: Model;
  readonly #style: Model | undefined;
  readonly #model: Model;

  /**
   * @param kind such as `IntSlider`, with the model `IntSliderModel` and the view `IntSliderView`
   * @param state the model's state in addition to the common fields
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

  /** Model id, by which container widgets refer to this one. */
  get modelId(): string {
    return this.#model.id;
  }

  protected get(name: string): unknown {
    return this.#model.state[name];
  }

  protected set(update: State): void {
    this.#model.set(update);
  }

  /** Called when the user changes the state. */
  protected changed(_update: State): void {}

  /** Called for custom messages of the front-end, such as a click. */
  protected custom(_content: State): void {}

  /** Closes the widget, which removes it from all pages. */
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

/** Options of widgets with a value. */
export interface ValueOptions<T> {
  value?: T;
  /** Label on the left. */
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

  /** Setting the value updates all pages, and calls the observers. */
  set value(value: T) {
    this.set({ value });
    this.#notify();
  }

  /** Adds an observer, called with each new value and the previous one. Returns a function that removes it. */
  observe(observer: (value: T, before: T) => void): () => void {
    this.#observers.add(observer);
    return () => this.#observers.delete(observer);
  }

  protected override changed(): void {
    this.#notify();
  }

  #notify(): void {
    const [before, now] = [this.#last, this.value];
    if (Object.is(before, now)) return;
    this.#last = now;
    for (const observer of [...this.#observers]) observer(now, before);
  }
}

/** Options of sliders and progress bars. */
export interface RangeOptions extends ValueOptions<number> {
  min?: number;
  max?: number;
  step?: number;
  orientation?: "horizontal" | "vertical";
}

/** @throws RangeError when the value is out of range */
function range(kind: string, options: RangeOptions, fallback: { max: number; step: number }) {
  const { min = 0, max = fallback.max, step = fallback.step, orientation = "horizontal" } = options;
  const value = options.value ?? min;
  if (!(min <= value && value <= max)) {
    throw new RangeError(`${kind}: value ${value} is out of range: it must be from min ${min} to max ${max}`);
  }
  return { value, state: { min, max, step, orientation } };
}

const slider = { readout: true, continuous_update: true, behavior: "drag-tap" };

/** A slider for integers; by default from 0 to 100. */
export class IntSlider extends ValueWidget<number> {
  constructor(options: RangeOptions = {}) {
    const { value, state } = range("IntSlider", options, { max: 100, step: 1 });
    super("IntSlider", value, options, { ...state, ...slider, readout_format: "d" }, "SliderStyle");
  }
}

/** A slider for numbers; by default from 0 to 1. */
export class FloatSlider extends ValueWidget<number> {
  constructor(options: RangeOptions = {}) {
    const { value, state } = range("FloatSlider", options, { max: 1, step: 0.01 });
    super("FloatSlider", value, options, { ...state, ...slider, readout_format: ".2f" }, "SliderStyle");
  }
}

/** Options of a progress bar. */
export interface ProgressOptions extends RangeOptions {
  /** Colour. */
  style?: "" | "info" | "success" | "warning" | "danger";
}

function progress(kind: string, options: ProgressOptions, max: number) {
  const { value, state } = range(kind, options, { max, step: 1 });
  const { step, ...rest } = state;
  return { value, state: { ...rest, bar_style: options.style ?? "", _view_name: "ProgressView" } };
}

/** A progress bar for integers; by default from 0 to 100. */
export class IntProgress extends ValueWidget<number> {
  constructor(options: ProgressOptions = {}) {
    const { value, state } = progress("IntProgress", options, 100);
    super("IntProgress", value, options, state, "ProgressStyle");
  }
}

/** A progress bar; by default from 0 to 1. */
export class FloatProgress extends ValueWidget<number> {
  constructor(options: ProgressOptions = {}) {
    const { value, state } = progress("FloatProgress", options, 1);
    super("FloatProgress", value, options, state, "ProgressStyle");
  }
}

/** A checkbox. */
export class Checkbox extends ValueWidget<boolean> {
  constructor(options: ValueOptions<boolean> = {}) {
    super("Checkbox", options.value ?? false, options, { indent: true }, "CheckboxStyle");
  }
}

/** A text field. */
export class Text extends ValueWidget<string> {
  constructor(options: ValueOptions<string> & { placeholder?: string } = {}) {
    const { placeholder = "" } = options;
    super("Text", options.value ?? "", options, { placeholder, continuous_update: true }, "TextStyle");
  }
}

/** HTML content. */
export class HTML extends ValueWidget<string> {
  constructor(options: ValueOptions<string> = {}) {
    super("HTML", options.value ?? "", options, { placeholder: "" }, "HTMLStyle");
  }
}

/** A drop-down list of strings. */
export class Dropdown extends Widget {
  readonly options: readonly string[];
  readonly #observers = new Set<(value: string) => void>();

  /** @throws RangeError when the value is not one of the options */
  constructor(options: ValueOptions<string> & { options: readonly string[] }) {
    const index = options.value === undefined ? 0 : options.options.indexOf(options.value);
    if (index < 0 || options.options.length === 0) {
      throw new RangeError(`Dropdown: value must be one of ${options.options.join(", ")}, not ${options.value}`);
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
    if (index < 0) throw new RangeError(`Dropdown: value must be one of ${this.options.join(", ")}, not ${value}`);
    this.set({ index });
    this.changed({ index });
  }

  /** Adds an observer, called with each new value. Returns a function that removes it. */
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

  /** Adds a click listener. Returns a function that removes it. */
  onClick(observer: () => void): () => void {
    this.#observers.add(observer);
    return () => this.#observers.delete(observer);
  }

  protected override custom({ event }: State): void {
    if (event === "click") for (const observer of [...this.#observers]) observer();
  }
}

/** Widgets in a row. */
export class HBox extends Widget {
  constructor(children: readonly Widget[], options: { layout?: Record<string, string> } = {}) {
    super("HBox", { children: children.map(({ modelId }) => reference(modelId)), box_style: "" }, options);
  }
}

/** Widgets in a column. */
export class VBox extends Widget {
  constructor(children: readonly Widget[], options: { layout?: Record<string, string> } = {}) {
    super("VBox", { children: children.map(({ modelId }) => reference(modelId)), box_style: "" }, options);
  }
}
