import type { Type as TypeBox } from 'typebox'

export type { Static, TObject, TSchema } from 'typebox'

interface Schema {
  [keyword: string]: unknown
  [optional]?: true
}
type Properties = Record<string, Schema>
type ObjectSchema = Schema & { properties: Properties; required?: string[] }

const optional = Symbol('optional')

const object = (properties: Properties, options: Schema = {}): Schema => {
  const required = Object.keys(properties).filter((name) => !properties[name][optional])
  return { type: 'object', ...(required.length > 0 && { required }), properties, ...options }
}

/** An object with those properties of another that are kept, optional as they are there. */
const part = ({ properties, required = [] }: ObjectSchema, keep: (name: string) => boolean, options?: Schema): Schema =>
  object(
    Object.fromEntries(
      Object.entries(properties)
        .filter(([name]) => keep(name))
        .map(([name, schema]) => [name, required.includes(name) ? schema : { ...schema, [optional]: true }]),
    ),
    options,
  )

const plain =
  (type?: string) =>
  (options: Schema = {}): Schema => ({ ...(type && { type }), ...options })

const builders = {
  String: plain('string'),
  Number: plain('number'),
  Integer: plain('integer'),
  Boolean: plain('boolean'),
  Null: plain('null'),
  Unknown: plain(),
  Unsafe: (schema: Schema) => schema,
  Literal: (value: string | number | boolean, options: Schema = {}) => ({
    type: typeof value,
    const: value,
    ...options,
  }),
  Array: (items: Schema, options: Schema = {}) => ({ type: 'array', items, ...options }),
  Union: (anyOf: Schema[], options: Schema = {}) => ({ anyOf, ...options }),
  Record: (key: Schema, value: Schema, options: Schema = {}) => ({
    type: 'object',
    patternProperties: { [String(key.pattern ?? '^.*$')]: value },
    ...options,
  }),
  Object: object,
  Optional: (schema: Schema) => ({ ...schema, [optional]: true }),
  Partial: (of: ObjectSchema, options?: Schema) => part({ ...of, required: [] }, () => true, options),
  Pick: (of: ObjectSchema, names: readonly string[], options?: Schema) =>
    part(of, (name) => names.includes(name), options),
  Omit: (of: ObjectSchema, names: readonly string[], options?: Schema) =>
    part(of, (name) => !names.includes(name), options),
}

/**
 * Builders of JSON Schema with the names and types of TypeBox's, and what they make: loading its own takes 370 modules,
 * a quarter of the server's start. What checks values by them is TypeBox's and Fastify's, loaded when first used.
 */
export const Type = builders as unknown as Pick<typeof TypeBox, keyof typeof builders>
