import type { Door } from './door.ts'
import { hf } from './hf.ts'
import { mcp } from './mcp/door.ts'
import { mlflow } from './mlflow/door.ts'
import { native } from './native.ts'
import { oip } from './oip/door.ts'
import { ollama } from './ollama/door.ts'
import { openai } from './openai/door.ts'
import { tei } from './tei.ts'
import { tfserving } from './tfserving/door.ts'

/** Every protocol that the server speaks over HTTP. */
export const doors: readonly Door[] = [native, oip, openai, hf, tei, tfserving, mlflow, ollama, mcp]
