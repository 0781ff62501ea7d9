/** Names of all doors, as keys are limited to them. */
export const doorNames = [
  'native',
  'oip',
  'openai',
  'hf',
  'tei',
  'tfserving',
  'mlflow',
  'ollama',
  'mcp',
  'grpc',
] as const
