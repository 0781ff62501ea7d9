import type { Group } from 'h5wasm'
import type { Tensor } from '../../graph/tensor.ts'

/** A group to be written: attributes, arrays and groups by name. */
export interface Hdf5Group {
  attributes?: Record<string, string | string[]>
  arrays?: Record<string, Tensor>
  groups?: Record<string, Hdf5Group>
}

/** The bytes of an HDF5 file with the given content. */
export async function writeHdf5(root: Hdf5Group): Promise<Uint8Array> {
  const { ready, File: Opened } = (await import('h5wasm')).default
  const { FS: files } = await ready
  const name = 'written.h5'
  const file = new Opened(name, 'w')
  try {
    const write = (at: Group, { attributes = {}, arrays = {}, groups = {} }: Hdf5Group) => {
      for (const [key, value] of Object.entries(attributes)) at.create_attribute(key, value)
      for (const [key, { dims, data }] of Object.entries(arrays))
        at.create_dataset({ name: key, data: data as Float32Array, shape: [...dims], dtype: '<f4' })
      for (const [key, inner] of Object.entries(groups)) write(at.create_group(key), inner)
    }
    write(file, root)
  } finally {
    file.close()
  }
  const bytes = files.readFile(name)
  files.unlink(name)
  return bytes
}
