/** Converts `learningRate` to `learning_rate`, the form in which settings are logged. */
export const snakeCase = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
