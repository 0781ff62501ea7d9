import { type Static, Type } from '../base/schema.ts'
import { type HubTaskName, hubTaskNames } from '../bundle/hub.ts'
import { type PixelScale, pixelScales } from './bare/scales.ts'

const hub = Type.Unsafe<HubTaskName>({ type: 'string', enum: [...hubTaskNames] })

/** What a model's files cannot say: its task, its labels, how texts become ids. */
export const ImportOptions = Type.Object(
  {
    format: Type.Optional(Type.String({ maxLength: 40 })),
    /** `tensor` for a model that looks as if it read texts or saw images and is to take tensors. */
    task: Type.Optional(
      Type.Union([
        Type.Literal('text-classification'),
        Type.Literal('image-classification'),
        Type.Literal('tensor'),
        hub,
      ]),
    ),
    /** The JSON of a Keras Tokenizer, or Hugging Face's tokenizer.json: the model then takes texts. */
    tokenizer: Type.Optional(Type.String()),
    /** In the order of the model's outputs; 0, 1, … if not given. */
    labels: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 200 }), { minItems: 2, maxItems: 100_000 }),
    ),
    /** Ids in a row, where the model itself does not say. */
    length: Type.Optional(Type.Integer({ minimum: 1, maximum: 65_536 })),
    /** Where Keras' pad_sequences put zeros, and which end it cut: both `pre` unless told otherwise, as there. */
    padding: Type.Optional(Type.Union([Type.Literal('pre'), Type.Literal('post')])),
    truncating: Type.Optional(Type.Union([Type.Literal('pre'), Type.Literal('post')])),
    /** What pixels were in training: 0 to 255, 0 to 1, -1 to 1, or by ImageNet's mean and deviation. */
    pixels: Type.Optional(Type.Unsafe<PixelScale>({ type: 'string', enum: [...pixelScales] })),
    /** How an image of another shape is brought to size: its middle (unless told otherwise), all of it, or stretched. */
    fit: Type.Optional(Type.Union([Type.Literal('cover'), Type.Literal('contain'), Type.Literal('fill')])),
    /** Where the files came from, e.g. `hf:owner/name@<commit>`: recorded in the lineage. */
    source: Type.Optional(Type.String({ maxLength: 300 })),
    description: Type.Optional(Type.String({ maxLength: 2000 })),
  },
  { additionalProperties: false },
)
export type ImportOptions = Static<typeof ImportOptions>
