// Errors whose message is written for the person at the page.

/** Input that cannot be used; the message says what is wrong and what to do. */
export class InputError extends Error {}

/** A model file that cannot be read or trusted. */
export class ModelFileError extends Error {}
