import type { Door } from './door.ts'
import { mlflow } from './mlflow.ts'
import { native } from './native.ts'
import { oip } from './oip/door.ts'
import { openai } from './openai/door.ts'
import { tfserving } from './tfserving/door.ts'

/** Every protocol that the server speaks over HTTP. */
export const doors: readonly Door[] = [native, oip, openai, tfserving, mlflow]
